// Before the first paint, so that a dark room sees no white flash. A chosen theme stays; else the system's counts.
(() => {
  const chosen = localStorage.getItem("theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
})();
