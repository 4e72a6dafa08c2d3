"use strict";
(() => {
  const block = document.getElementById("data");
  if (!block) return;
  const { base, breaks, texts } = JSON.parse(block.textContent);
  const [CPU, START, LENGTH, CAUSE, KIND, FACTS] = [0, 1, 2, 3, 4, 5];
  const ROW = 20, HEAD = 24, LEFT = 150;
  const box = document.getElementById("timeline"), canvas = box.querySelector("canvas");
  const tip = document.getElementById("tip"), told = document.getElementById("told");
  const paint = canvas.getContext("2d");

  // One lane for each CPU and cause, so that rare causes are not drawn over by frequent ones.
  const colours = ["#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#8f8f8f",
    "#1f9e89", "#c51b8a", "#6baed6", "#b5bd61", "#8c2d04", "#54278f", "#fdbf6f", "#006d2c"];
  const causes = [...new Set(breaks.map((b) => b[CAUSE]))].sort((a, b) => (texts[a] < texts[b] ? -1 : 1));
  const colour = new Map(causes.map((cause, n) => [cause, colours[n % colours.length]]));
  const cpus = [...new Set(breaks.map((b) => b[CPU]))].sort((a, b) => a - b);
  const lanes = [];
  for (const cpu of cpus)
    for (const cause of causes) {
      const mine = breaks.filter((b) => b[CPU] === cpu && b[CAUSE] === cause);
      if (mine.length) lanes.push({ cpu, cause, mine });
    }
  for (const swatch of document.querySelectorAll(".swatch")) {
    const cause = causes.find((one) => texts[one] === swatch.dataset.cause);
    if (cause !== undefined) swatch.style.background = colour.get(cause);
  }

  const end = breaks.reduce((most, b) => Math.max(most, b[START] + (b[LENGTH] || 0)), 1);
  const margin = end * 0.01;
  let from = -margin, to = end + margin, chosen = null;
  let width = 0;
  const x = (ns) => LEFT + ((ns - from) / (to - from)) * (width - LEFT);
  const at = (px) => from + ((px - LEFT) / (width - LEFT)) * (to - from);
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

  function text(ns) {
    const size = Math.abs(ns);
    if (size >= 1e9) return (ns / 1e9).toFixed(3) + " s";
    if (size >= 1e6) return (ns / 1e6).toFixed(3) + " ms";
    return (ns / 1e3).toFixed(size < 1e4 ? 3 : 1) + " us";
  }

  function draw() {
    const scale = window.devicePixelRatio || 1, height = HEAD + lanes.length * ROW + 6;
    width = box.clientWidth;
    canvas.width = width * scale;
    canvas.height = height * scale;
    canvas.style.height = height + "px";
    paint.setTransform(scale, 0, 0, scale, 0, 0);
    paint.clearRect(0, 0, width, height);
    paint.font = "11px system-ui, sans-serif";
    paint.textBaseline = "middle";
    axis(height);
    lanes.forEach(lane);
  }

  function axis(height) {
    const step = nice((to - from) / Math.max(2, (width - LEFT) / 130));
    paint.strokeStyle = style("--rule");
    paint.fillStyle = style("--soft");
    for (let t = Math.ceil(from / step) * step; t < to; t += step) {
      const px = x(t);
      paint.beginPath();
      paint.moveTo(px, HEAD - 6);
      paint.lineTo(px, height);
      paint.stroke();
      if (px < width - 60) paint.fillText(text(t), px + 3, 10);
    }
  }

  function nice(raw) {
    const power = 10 ** Math.floor(Math.log10(raw));
    return [1, 2, 5, 10].find((n) => n * power >= raw) * power;
  }

  function lane({ cpu, cause, mine }, number) {
    const top = HEAD + number * ROW;
    paint.fillStyle = style("--ink");
    paint.fillText("CPU " + cpu + "  " + texts[cause], 8, top + ROW / 2);
    paint.strokeStyle = style("--rule");
    paint.beginPath();
    paint.moveTo(0, top + ROW);
    paint.lineTo(width, top + ROW);
    paint.stroke();
    paint.fillStyle = colour.get(cause);
    let drawn = -1;
    for (const one of mine) {
      const left = Math.max(LEFT, x(one[START])), right = Math.min(width, x(one[START] + (one[LENGTH] || 0)));
      if (right < LEFT || left > width || (right <= drawn && one !== chosen)) continue;
      const wide = Math.max(1.5, right - left);
      if (one === chosen) paint.fillStyle = style("--ink");
      paint.fillRect(left, top + 3, wide, ROW - 6);
      if (one === chosen) paint.fillStyle = colour.get(cause);
      drawn = left + wide - 0.5;
    }
  }

  function under(event) {
    const area = canvas.getBoundingClientRect(), px = event.clientX - area.left;
    const lane = lanes[Math.floor((event.clientY - area.top - HEAD) / ROW)];
    if (!lane || px < LEFT) return null;
    let best = null, reach = 5;
    for (const one of lane.mine) {
      const left = x(one[START]), right = Math.max(left + 1.5, x(one[START] + (one[LENGTH] || 0)));
      const off = px < left ? left - px : px > right ? px - right : 0;
      if (off < reach || (off === 0 && best && one[LENGTH] < best[LENGTH])) [best, reach] = [one, Math.max(off, 0.01)];
    }
    return best;
  }

  // Names come from a trace: they are set as text, never as markup.
  function tell(one) {
    told.hidden = !one;
    told.replaceChildren();
    if (!one) return;
    const list = document.createElement("dl");
    const start = (BigInt(base) + BigInt(one[START])).toString().padStart(10, "0");
    const facts = [["at", start.slice(0, -9) + "." + start.slice(-9) + " s on CPU " + one[CPU]],
      ["cause", texts[one[CAUSE]]], ["arrived as", texts[one[KIND]]],
      ...one[FACTS].map(([name, value]) => [texts[name], texts[value]])];
    for (const [name, value] of facts) {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = name;
      dd.textContent = value;
      list.append(dt, dd);
    }
    told.append(list);
  }

  function zoom(factor, middle) {
    const span = Math.min(Math.max((to - from) * factor, 10), (end + 2 * margin) * 1.02);
    const share = (middle - from) / (to - from);
    from = middle - share * span;
    to = from + span;
    draw();
  }

  function move(ns) {
    const shift = Math.min(Math.max(ns, -end - from), 2 * end - to);
    from += shift;
    to += shift;
    draw();
  }

  box.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, at(Math.max(LEFT, event.clientX - canvas.getBoundingClientRect().left)));
  }, { passive: false });
  let dragged = null;
  canvas.addEventListener("pointerdown", (event) => { dragged = { px: event.clientX, moved: false }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (dragged) {
      if (Math.abs(event.clientX - dragged.px) > 2) dragged.moved = true;
      move(((dragged.px - event.clientX) / (width - LEFT)) * (to - from));
      dragged.px = event.clientX;
      return;
    }
    const one = under(event), area = box.getBoundingClientRect();
    tip.hidden = !one;
    if (!one) return;
    tip.textContent = texts[one[CAUSE]] + ", " + (one[LENGTH] === null ? "no known end" : text(one[LENGTH])) + ", " +
      one[FACTS].slice(0, 4).map(([name, value]) => texts[name] + " " + texts[value]).join(", ");
    tip.style.left = Math.min(event.clientX - area.left + 12, area.width - tip.offsetWidth - 4) + "px";
    tip.style.top = event.clientY - area.top + 14 + "px";
  });
  canvas.addEventListener("pointerup", (event) => {
    if (dragged && !dragged.moved) { chosen = under(event); tell(chosen); draw(); }
    dragged = null;
  });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("dblclick", () => { from = -margin; to = end + margin; draw(); });
  box.addEventListener("keydown", (event) => {
    const middle = (from + to) / 2, step = (to - from) / 8;
    const keys = { "+": () => zoom(0.5, middle), "=": () => zoom(0.5, middle), "-": () => zoom(2, middle),
      ArrowLeft: () => move(-step), ArrowRight: () => move(step), "0": () => { from = -margin; to = end + margin; draw(); } };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  window.addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
})();
