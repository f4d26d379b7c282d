// All streams. Lines are drawn for what is in view and fetched in pieces: 100 000 streams cost as much as fifty.
import { age, ask, count, every, fill, h, live, on, severity, span, streamPath, number } from "./lib.js";
import { spark } from "./chart.js";
import { choice } from "./parts.js";

const PIECE = 50;
const KINDS = { "": "All", open: "Alerting", ready: "Ready", warming: "Warming", shadow: "Shadow", unjudged: "Not judged", muted: "Muted" };
const SORTS = { incident: "Worst first", name: "Name", score: "Score", last: "Newest point", interval: "Interval", state: "State" };

export function show(page) {
  page.title("Streams");
  const { params } = page;
  const asked = { q: params.get("q") ?? "", state: params.get("state") ?? "", sort: params.get("sort") ?? "incident" };
  const search = h("input", { type: "search", placeholder: "Name, pattern*, label=value", value: asked.q, "aria-label": "Search streams", autocomplete: "off", spellcheck: false });
  const sort = h("select", { "aria-label": "Order" }, Object.entries(SORTS).map(([value, text]) => h("option", { value, selected: value === asked.sort }, text)));
  const total = h("span.sub", "");
  const space = h("div"), rows = h(".rows", { tabIndex: 0, role: "list", "aria-label": "Streams" }, space);
  const kinds = choice(KINDS, asked.state, (value) => again({ state: value }), "Which streams");
  fill(page.root, h(".head", h("h1", "Streams"), total), h(".bar", search, kinds, sort),
    h(".card.table", h(".row.headings", h("span", "State"), h("span", "Stream"), h("span.mid", "Newest values"), h("span.num.mid.wide", { title: "Surprise of the newest slot: −log10 of its probability on normal data" }, "Score"), h("span.num", "Newest"), h("span.num.wide.mid", "Interval")), rows));

  let known = new Map(), fetching = new Map(), size = 0, generation = 0, chosen = -1;
  const pool = [];
  const height = () => (matchMedia("(max-width: 620px)").matches ? 52 : 46);

  function line() {
    const made = {
      root: h("a.row", { role: "listitem" }), sev: h("span"), name: h("span.name"), canvas: h("canvas.mid"), score: h("span.num.mid.wide"),
      last: h("span.num.quiet"), every: h("span.num.quiet.mid.wide"), at: -1, told: null,
    };
    made.root.append(made.sev, made.name, made.canvas, made.score, made.last, made.every);
    rows.append(made.root);
    return made;
  }

  function draw() {
    const tall = height(), first = Math.max(0, Math.floor(rows.scrollTop / tall) - 4);
    const last = Math.min(size, Math.ceil((rows.scrollTop + rows.clientHeight) / tall) + 4);
    while (pool.length < last - first) pool.push(line());
    for (let piece = Math.floor(first / PIECE); piece * PIECE < last; piece++) need(piece);
    pool.forEach((made, i) => {
      // a line keeps its place as long as it is in view: only what comes into view is drawn anew
      const at = first + ((i - (first % pool.length)) + pool.length) % pool.length;
      const there = at < last;
      made.root.style.display = there ? "" : "none";
      if (!there) { made.at = -1; return; }
      const row = known.get(at);
      if (made.at !== at) { made.root.style.transform = `translateY(${at * tall}px)`; made.at = at; made.told = null; }
      made.root.classList.toggle("chosen", at === chosen);
      if (row === made.told && row) return;
      made.told = row;
      if (!row) { made.sev.replaceChildren(); made.name.textContent = "…"; made.score.textContent = made.last.textContent = made.every.textContent = ""; spark(made.canvas, []); return; }
      made.root.href = streamPath(row.stream);
      made.sev.replaceChildren(row.severity ? severity(row.severity) : severity(null, true, row.muted ? "muted" : row.state));
      if (row.why) made.sev.title = row.why;
      made.name.replaceChildren(row.stream, ...Object.entries(row.labels).slice(0, 3).map(([key, value]) => h("span.tag", `${key}=${value}`)));
      made.score.textContent = row.score === null ? "–" : row.score.toFixed(1);
      made.last.textContent = row.last_s === null ? "–" : age(row.last_s * 1000);
      made.every.textContent = span(row.interval_s);
      spark(made.canvas, row.spark, row.severity);
    });
  }

  async function need(piece, fresh = false) {
    if (fetching.has(piece) || (known.has(piece * PIECE) && !fresh) || piece < 0) return;
    const mine = generation;
    const call = ask("/api/streams", { ...asked, first: piece * PIECE, count: PIECE }, page.signal);
    fetching.set(piece, call);
    try {
      const body = await call;
      if (mine !== generation) return;
      page.well();
      body.rows.forEach((row, i) => known.set(piece * PIECE + i, row));
      if (body.total !== size) resize(body.total);
      draw();
    } catch (error) {
      if (error.name !== "AbortError") page.trouble(error);
    } finally {
      if (fetching.get(piece) === call) fetching.delete(piece);
    }
  }

  function resize(now) {
    size = now;
    space.style.height = `${size * height()}px`;
    total.textContent = size === 1 ? "1 stream" : `${count(size)} streams`;
  }

  function again(change = {}) {
    Object.assign(asked, change);
    const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value)).toString();
    history.replaceState(null, "", query ? `/streams?${query}` : "/streams");
    generation++;
    known = new Map();
    fetching = new Map();
    chosen = -1;
    rows.scrollTop = 0;
    pool.forEach((made) => { made.told = undefined; });
    need(0);
  }

  let waiting = 0, drawing = 0;
  const later = () => { drawing ||= requestAnimationFrame(() => { drawing = 0; draw(); }); };
  rows.addEventListener("scroll", later, { passive: true });
  new ResizeObserver(() => { resize(size); pool.forEach((made) => { made.at = -1; }); later(); }).observe(rows);
  search.oninput = () => { clearTimeout(waiting); waiting = setTimeout(() => again({ q: search.value.trim() }), 150); };
  sort.onchange = () => again({ sort: sort.value });
  on(page, document, "theme", () => { pool.forEach((made) => { made.told = undefined; }); draw(); });
  const move = (step) => {
    chosen = Math.min(Math.max(chosen + step, 0), size - 1);
    const top = chosen * height();
    if (top < rows.scrollTop) rows.scrollTop = top;
    else if (top + height() > rows.scrollTop + rows.clientHeight) rows.scrollTop = top + height() - rows.clientHeight;
    draw();
  };
  Object.assign(page.keys, {
    "/": ["Search", () => search.focus()], j: ["Next stream", () => move(1)], k: ["Stream before", () => move(-1)],
    Enter: ["Open the stream", () => { const row = known.get(chosen); if (row) page.go(streamPath(row.stream)); }],
  });
  const refresh = () => {
    const tall = height(), first = Math.floor(rows.scrollTop / tall), last = first + Math.ceil(rows.clientHeight / tall);
    for (let piece = Math.floor(first / PIECE); piece <= Math.floor(last / PIECE); piece++) need(piece, true);
    for (const at of known.keys()) if (at < first - 500 || at > last + 500) known.delete(at);
  };
  on(page, live, "incident", () => { clearTimeout(waiting); waiting = setTimeout(refresh, 150); });
  need(0);
  every(page, 2000, async () => refresh());
}
