// Charts, by uPlot: values in the text's colour, the band in grey, incidents in the colour of their severity.
import { h, number, when } from "./lib.js";

export const tone = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// A sparkline; what was expected is not drawn, gaps are.
export function spark(canvas, values, severity) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth || 190, height = canvas.clientHeight || 30;
  if (canvas.width !== Math.round(width * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value === null) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return;
  const room = high - low || 1, step = width / Math.max(1, values.length - 1);
  pen.beginPath();
  let down = false;
  values.forEach((value, i) => {
    if (value === null) { down = false; return; }
    const y = high === low ? height / 2 : height - 3 - ((value - low) / room) * (height - 6);
    if (down) pen.lineTo(i * step, y); else pen.moveTo(i * step, y);
    down = true;
  });
  pen.lineWidth = 1.2;
  pen.lineJoin = "round";
  pen.strokeStyle = tone(severity ?? "soft");
  pen.stroke();
}

// Incidents behind the values: a wash from onset to end, and a line on top of it.
function shading(spans) {
  return (plot) => {
    const { ctx: pen, bbox } = plot;
    for (const { from, to, severity } of spans()) {
      const left = Math.max(plot.valToPos(from, "x", true), bbox.left);
      const right = Math.min(plot.valToPos(to, "x", true), bbox.left + bbox.width);
      if (right < bbox.left || left > bbox.left + bbox.width) continue;
      const width = Math.max(right - left, 2 * devicePixelRatio);
      pen.fillStyle = tone(`${severity}-wash`);
      pen.fillRect(left, bbox.top, width, bbox.height);
      pen.fillStyle = tone(severity);
      pen.fillRect(left, bbox.top, width, 2 * devicePixelRatio);
    }
  };
}

const axis = (more) => ({
  stroke: () => tone("faint"), font: "12px system-ui, sans-serif", ticks: { show: false },
  grid: { stroke: () => tone("grid"), width: 1 }, ...more,
});
const short = (plot, splits) => splits.map((value) => number(value, 4));

function mount(into, height, options, data) {
  const width = () => Math.max(160, into.clientWidth);
  const plot = new uPlot({
    width: width(), height, padding: [8, 8, 0, 0], cursor: { drag: { x: true, y: false }, points: { size: 6 } }, ...options,
  }, data, into);
  const watching = new ResizeObserver(() => plot.setSize({ width: width(), height }));
  watching.observe(into);
  const repaint = () => plot.redraw(false);
  document.addEventListener("theme", repaint);
  return { plot, end: () => { watching.disconnect(); document.removeEventListener("theme", repaint); plot.destroy(); } };
}

const dateAxis = (seconds) => axis({
  size: 28, space: 70,
  values: (plot, splits, at, space, step) => splits.map((value, i) => {
    const date = new Date(value * 1000);
    if (step >= 86400) return new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" }).format(date);
    const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", ...(step < 60 ? { second: "2-digit" } : {}), hour12: false }).format(date);
    const fresh = i === 0 || new Date(splits[i - 1] * 1000).getDate() !== date.getDate();
    return fresh && (splits.at(-1) - splits[0] > 43200) ? new Intl.DateTimeFormat(undefined, { weekday: "short" }).format(date) + " " + time : time;
  }),
});

// Values with their band. `read` shows what is under the cursor; `spans` gives the incidents.
export function valueChart(into, read, spans, { height = 300, sync, unit } = {}) {
  const range = (plot, low, high) => {
    if (low === null || high === null) return [0, 1];
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    return [low - room, high + room];
  };
  const tell = (plot) => {
    const at = plot.cursor.idx;
    if (at === null || at === undefined) { read.replaceChildren(); return; }
    const [times, value, , low, expected, high] = plot.data;
    if (value[at] === null || value[at] === undefined) { read.textContent = `${when(times[at] * 1000, true)}  no value`; return; }
    read.replaceChildren(`${when(times[at] * 1000, true)}  `, h("b", `${number(value[at])}${unit ? " " + unit : ""}`));
    if (low[at] !== null && low[at] !== undefined) read.append(`  expected ${number(expected[at])}, ${number(low[at])} to ${number(high[at])}`);
  };
  const line = (more) => ({ stroke: () => tone("text"), width: 1.3, points: { show: false }, ...more });
  const hidden = { stroke: "transparent", width: 0, points: { show: false } };
  const { plot, end } = mount(into, height, {
    cursor: { drag: { x: true, y: false }, points: { show: false }, ...(sync ? { sync: { key: sync } } : {}) },
    scales: { x: { time: true }, y: { range } },
    axes: [dateAxis(), axis({ size: 58, values: short })],
    series: [{}, line(), line({ width: 1 }), hidden, { ...line(), stroke: () => tone("faint"), width: 1, dash: [4, 4] }, hidden],
    bands: [{ series: [5, 3], fill: () => tone("band") }, { series: [1, 2], fill: () => tone("text") }],
    hooks: { drawClear: [shading(spans)], setCursor: [tell] },
  }, [[], [], [], [], [], []]);
  return {
    plot, end,
    // `series`: {times, values, lows}; `judged`: {times, low, expected, high} or null
    show(series, judged) {
      const tables = [[series.times, series.values, series.lows ?? series.times.map(() => null)]];
      if (judged) {
        const from = series.times[0], to = series.times.at(-1);
        const keep = judged.times.map((at) => at >= from && at <= to);
        const part = (values) => values.filter((_, i) => keep[i]);
        tables.push([part(judged.times), part(judged.low), part(judged.expected), part(judged.high)]);
      } else tables.push([[], [], [], []]);
      plot.setData(uPlot.join(tables, [[0, 2, 2], [0, 0, 0, 0]]));
    },
  };
}

// The score in units of what opens an incident, with a line at 1.
export function scoreChart(into, spans, { height = 110, sync } = {}) {
  const { plot, end } = mount(into, height, {
    cursor: { drag: { x: true, y: false }, points: { show: false }, ...(sync ? { sync: { key: sync } } : {}) },
    scales: { x: { time: true }, y: { range: () => [0, 3.2] } },
    axes: [dateAxis(), axis({ size: 58, splits: () => [0, 1, 2, 3], values: () => ["0", "1", "2", "3+"] })],
    series: [{}, { stroke: () => tone("text"), width: 1.2, points: { show: false } }],
    hooks: {
      drawClear: [shading(spans)],
      draw: [(p) => {
        const y = Math.round(p.valToPos(1, "y", true)), pen = p.ctx;
        pen.save();
        pen.strokeStyle = tone("soft");
        pen.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
        pen.lineWidth = devicePixelRatio;
        pen.beginPath();
        pen.moveTo(p.bbox.left, y);
        pen.lineTo(p.bbox.left + p.bbox.width, y);
        pen.stroke();
        pen.restore();
      }],
    },
  }, [[], []]);
  return {
    plot, end,
    show(times, judged) {
      const from = times[0], to = times.at(-1);
      const own = judged ? judged.times.map((at, i) => [at, judged.score[i]]).filter(([at]) => at >= from && at <= to) : [];
      // the same stretch of time as the values above it
      plot.setData(uPlot.join([[times, times.map(() => null)], [own.map((p) => p[0]), own.map((p) => (p[1] === null ? null : Math.min(p[1], 3)))]], [[2], [0]])
        .filter((_, i) => i !== 1));
    },
  };
}

// A week of a season: Monday to Sunday in phases of five minutes.
export function weekChart(into, { low, expected, high }, { height = 180 } = {}) {
  const days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
  const at = low.map((_, i) => i / 288);
  const hidden = { stroke: "transparent", width: 0, points: { show: false } };
  return mount(into, height, {
    cursor: { show: false },
    scales: { x: { time: false, range: [0, 7] } },
    axes: [axis({ size: 26, splits: () => [0, 1, 2, 3, 4, 5, 6], values: () => days, align: 1 }), axis({ size: 58, values: short })],
    series: [{}, hidden, { stroke: () => tone("text"), width: 1.2, points: { show: false } }, hidden],
    bands: [{ series: [3, 1], fill: () => tone("band") }],
  }, [at, low, expected, high]);
}

// One quantity over the last minutes, without axes.
export function pulse(canvas, values) {
  spark(canvas, values);
}
