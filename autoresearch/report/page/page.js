"use strict";
// One page for report.html and for `serve`. What agents, diffs and logs say reaches it as text alone: textContent, never HTML.
(() => {
  const $ = (id) => document.getElementById(id);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 62rem)");
  const DIGITS = 6, BATCH = 100, LABELS = 40, REACH = 28; // REACH: pixels around a point that are its own
  let study = JSON.parse($("data").textContent);
  const isLive = Boolean(study.live);
  let rows = [], selected = null, pointed = null, shown = BATCH, sorting = { key: "n", down: true };
  let chart = null, losses = null, pinned = [], home = null;
  const details = new Map(), parts = new Map(), lines = new Map(), rebased = new Map(); // an experiment, and the one that it goes on as

  function make(name, text = "", style = "") {
    const element = document.createElement(name);
    if (text !== "") element.textContent = text;
    if (style) element.className = style;
    return element;
  }
  function roled(element, role) { // a phone shows rows as blocks, and would forget what they are
    element.setAttribute("role", role);
    return element;
  }
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  function number(value, digits, least = 0.1 ** digits) { // as Metric of Python does
    const size = Math.abs(value);
    if (study.fixed || size === 0 || (size >= least && size < 1e5)) return value.toFixed(digits);
    return size > 1 ? value.toFixed(1) : String(Number(value.toPrecision(digits)));
  }
  const turned = (score) => (study.rises ? 0 - score : score); // inside, lower is better
  const bpb = (score) => (score == null ? "n/a" : number(turned(score), DIGITS, 0.001));
  const half = (row) => (study.half == null || !row.scores ? null : study.half / Math.sqrt(row.scores)); // of its 95 % interval
  const isStep = (row) => row.outcome === "keep" || row.outcome === "baseline";
  const score = (row) => bpb(row.bpb) + (row.bpb != null && half(row) != null ? ` ± ${number(half(row), 4)}` : "");
  const runs = (count) => (count === 1 ? "one training" : `${count} trainings`);

  // What follows from the rows -------------------------------------------------------------------------------------------

  function derive() {
    rows = study.experiments;
    let best = null;
    rebased.clear();
    for (const row of rows) {
      const base = row.base == null ? best : rows[row.base].bpb;
      row.gain = base == null || row.bpb == null ? null : base - row.bpb;
      if (isStep(row)) best = row.bpb;
      if (row.from != null) rebased.set(row.from, row.n);
    }
  }

  function show() {
    derive();
    drawHead();
    drawChart();
    drawTable();
    drawLosses();
    if (selected != null && rows[selected]) fillDetails(rows[selected]);
  }

  function notice(text) {
    $("notice").textContent = text || "";
    $("notice").hidden = !text;
  }

  function drawHead() {
    document.title = `${study.tag} · autoresearch`;
    $("tag").textContent = study.tag;
    $("machine").textContent = study.machine;
    $("standing").textContent = study.standing;
    $("standing").className = study.running ? "running" : "";
    $("belief").textContent = study.belief;
    $("way").textContent = study.rises ? "higher" : "lower";
    $("unit").textContent = study.unit;
    $("loss-unit").textContent = study.loss && ` (${study.loss})`;
    $("held-out").textContent = study.data;
    $("chart").setAttribute("aria-label", `Chart of ${study.metric} by experiment. Arrow keys step through the experiments, Enter opens one.`);
    $("table").tHead.querySelector("[data-key=bpb]").textContent = study.metric;
    $("made").textContent = isLive ? "Live, from autoresearch serve." : `Written ${study.now.slice(0, 16).replace("T", " ")} UTC by autoresearch.`;
    notice(study.trouble);
    $("tiles").replaceChildren(...study.tiles.map(([title, figure, words]) => {
      const tile = make("div");
      tile.append(make("dt", title), make("dd", figure), make("dd", words));
      return tile;
    }));
    $("none-kept").hidden = study.kept.length > 0;
    $("kept").replaceChildren(...study.kept.map((kept) => {
      const item = make("li"), button = make("button");
      button.type = "button";
      button.append(make("b", `${kept.n}`), ` ${kept.what}`, make("small", [kept.words, kept.category].filter(Boolean).join(" · ")));
      button.onclick = () => select(kept.n, true);
      item.append(button);
      return item;
    }));
    const most = Math.max(...study.categories.map((one) => one.gain), 1e-12);
    $("categories").tBodies[0].replaceChildren(...study.categories.map((one) => {
      const row = cells([one.category, one.tried, one.kept]);
      const gain = make("div", "", "gain"), bar = make("i");
      bar.style.width = `${Math.max(0, 45 * one.gain / most)}%`;
      gain.append(bar, one.kept ? number(one.gain, 4) : "–");
      row.append(make("td"));
      row.lastChild.append(gain);
      return row;
    }));
    $("texts").tBodies[0].replaceChildren(...study.texts.map(cells));
    fillPairs($("facts"), study.facts, "span");
    fillPairs($("again"), study.again, "code");
  }

  function cells(values) {
    const row = make("tr");
    row.append(...values.map((value) => make("td", String(value))));
    return row;
  }

  function fillPairs(list, pairs, kind) {
    list.replaceChildren(...pairs.flatMap(([title, text]) => {
      const value = make("dd");
      value.append(make(kind, text));
      return [make("dt", title), value];
    }));
  }

  // The chart ------------------------------------------------------------------------------------------------------------

  function bounds() {
    const scores = rows.filter((row) => row.bpb != null);
    const steps = scores.filter(isStep).map((row) => row.bpb);
    if (!steps.length) return [0, 1];
    const best = Math.min(...steps), first = steps[0], noise = study.half || 0;
    const near = Math.max(first - best, 2 * noise, 0.002 * Math.abs(best)) || 1;
    const above = scores.map((row) => row.bpb - best).filter((y) => y > 0).sort((a, b) => a - b);
    const most = above.length ? above[Math.floor(0.9 * (above.length - 1))] : 0;
    const high = Math.max(first + noise, best + Math.min(most, 1.3 * near));
    const low = Math.min(first - noise, ...scores.map((row) => row.bpb).filter((y) => y > best - near));
    const span = Math.max(high - low, near); // of one score alone: nothing
    return [low - 0.16 * span, high + 0.05 * span];
  }

  const place = (row) => (row.bpb == null ? home.low : Math.min(Math.max(row.bpb, home.low), home.high));
  const isDrawn = (row) => row.outcome !== "running" || row.bpb != null;

  function chartData() {
    const [low, high] = bounds();
    home = { low, high };
    let best = null;
    const steps = rows.map((row) => (best = isStep(row) ? row.bpb : best));
    const only = (test) => rows.map((row) => (row.bpb != null && row.bpb >= low && row.bpb <= high && test(row) ? row.bpb : null));
    return [rows.map((row) => row.n), steps, only((row) => !isStep(row)), only((row) => row.outcome === "keep"), only((row) => row.outcome === "baseline")];
  }

  const spread = () => Math.max(0.6, 0.015 * rows.length);

  function goHome(plot) {
    plot.zoomed = false;
    plot.batch(() => {
      plot.setScale("x", { min: -spread(), max: Math.max(rows.length - 1, 1) + spread() });
      plot.setScale("y", { min: home.low, max: home.high });
    });
  }

  function zoom(plot) {
    const { left, top, width, height } = plot.select;
    if (width < 4 && height < 4) return;
    plot.zoomed = true;
    const x = [left, left + width].map((at) => plot.posToVal(at, "x")), y = [top + height, top].map((at) => plot.posToVal(at, "y")).sort((a, b) => a - b);
    plot.batch(() => {
      plot.setScale("x", { min: x[0], max: x[1] });
      if (height > 4) plot.setScale("y", { min: y[0], max: y[1] });
      plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    });
  }

  const axis = (more) => ({ stroke: color("quiet"), grid: { stroke: color("grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif", ...more });
  const dots = (name, size, edge) => ({ paths: () => null, points: { show: true, size, fill: color(name), stroke: edge || color(name), width: edge ? 1.5 : 0, filter: null } });
  const tickDigits = (step) => (study.fixed ? (step < 0.001 ? 4 : 3) : Math.max(0, -Math.floor(Math.log10(step))));
  const asIs = (plot, min, max) => [min, max];
  const size = (box) => ({ width: box.clientWidth, height: Math.round(Math.min(Math.max(box.clientWidth * 0.46, 280), 460)) });

  function drawChart() {
    if (!rows.length) return;
    const data = chartData();
    if (chart) {
      chart.setData(data, false);
      if (chart.zoomed) chart.redraw(true); else goHome(chart);
      return;
    }
    const crowded = rows.length > 400;
    chart = new uPlot({
      ...size($("chart")),
      padding: [10, 12, 0, 0],
      legend: { show: false },
      cursor: { x: false, y: false, points: { show: false }, drag: { x: true, y: true, setScale: false, uni: 20 }, bind: { dblclick: (plot) => () => goHome(plot) } },
      scales: { x: { time: false, auto: false, range: asIs }, y: { auto: false, range: asIs, dir: study.rises ? -1 : 1 } },
      axes: [
        axis({ incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000], size: 34 }),
        axis({ size: 62, values: (plot, ticks) => ticks.map((tick) => !rows.some(isStep) ? "" : turned(tick).toFixed(tickDigits(ticks.length > 1 ? ticks[1] - ticks[0] : 1))) }),
      ],
      series: [
        {},
        { stroke: color("keep"), width: 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } },
        dots("discard", crowded ? 4 : 6),
        dots("keep", crowded ? 9 : 11, color("card")),
        dots("baseline", 11, color("card")),
      ],
      hooks: { drawAxes: [drawBand], draw: [drawOver], setCursor: [hover], setSelect: [zoom] },
    }, data, $("chart"));
    goHome(chart);
    let pressed = null;
    chart.over.addEventListener("mousedown", (event) => (pressed = [event.clientX, event.clientY]));
    chart.over.addEventListener("click", (event) => {
      const moved = pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > 4;
      const box = chart.over.getBoundingClientRect();
      const row = nearest(event.clientX - box.left, event.clientY - box.top);
      if (row && !moved) select(row.n, true);
    });
    chart.over.addEventListener("mouseleave", () => point(null));
    drawLegend();
  }

  function drawLegend() {
    const words = [["●", "keep", "kept"], ["●", "discard", "discarded"], [study.rises ? "▼" : "▲", "discard", "off the scale"], ["×", "crash", "crashed"], ["●", "baseline", "baseline"], ["━", "keep", "best so far"]];
    if (study.half != null) words.push(["┃", "quiet", "95 % interval; shaded: the baseline's"]);
    $("legend").replaceChildren(...words.map(([sign, name, text]) => {
      const entry = make("span"), mark = make("i", sign);
      mark.style.color = `var(--${name})`;
      entry.append(mark, text);
      return entry;
    }));
  }

  function drawBand(plot) {
    const first = rows.find(isStep);
    if (!first) return;
    const { ctx, bbox } = plot, y = (value) => plot.valToPos(value, "y", true), wide = half(first);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    if (wide != null) {
      ctx.fillStyle = color("band");
      ctx.fillRect(bbox.left, y(first.bpb + wide), bbox.width, y(first.bpb - wide) - y(first.bpb + wide));
    }
    ctx.strokeStyle = color("baseline");
    ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y(first.bpb));
    ctx.lineTo(bbox.left + bbox.width, y(first.bpb));
    ctx.stroke();
    ctx.restore();
  }

  function drawOver(plot) {
    const { ctx, bbox } = plot, unit = devicePixelRatio;
    const x = (row) => plot.valToPos(row.n, "x", true), y = (value) => plot.valToPos(value, "y", true);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left - 8 * unit, bbox.top - 8 * unit, bbox.width + 16 * unit, bbox.height + 16 * unit);
    ctx.clip();
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    for (const row of rows) {
      const wide = half(row), isMarked = row.n === selected || row.n === pointed;
      if (row.bpb == null ? row.outcome !== "running" : place(row) !== row.bpb) {
        ctx.fillStyle = color(row.outcome === "crash" ? "crash" : "discard");
        ctx.font = `${(row.bpb == null ? 15 : 9) * unit}px system-ui, sans-serif`;
        ctx.fillText(row.bpb == null ? "×" : row.bpb > home.high !== study.rises ? "▲" : "▼", x(row), y(place(row)));
      } else if (wide != null && row.bpb != null && (isStep(row) || isMarked)) {
        ctx.strokeStyle = color(isStep(row) ? row.outcome : "discard");
        ctx.lineWidth = 1.5 * unit;
        ctx.beginPath();
        ctx.moveTo(x(row), y(row.bpb - wide));
        ctx.lineTo(x(row), y(row.bpb + wide));
        ctx.stroke();
      }
      if (isMarked) {
        ctx.strokeStyle = color("ink");
        ctx.lineWidth = 2 * unit;
        ctx.beginPath();
        ctx.arc(x(row), y(place(row)), 9 * unit, 0, 2 * Math.PI);
        ctx.stroke();
      }
    }
    drawLabels(plot, x, y);
    ctx.restore();
  }

  // The largest gains first, each at the first free place around its dot, mostly beyond the steps; where there is none, no label.
  function drawLabels(plot, x, y) {
    const { ctx, bbox } = plot, unit = devicePixelRatio, height = 14 * unit, room = bbox.width / 3, gap = 7 * unit;
    const side = study.rises ? -1 : 1; // the better one
    const steps = rows.filter(isStep), keeps = steps.filter((row) => row.outcome === "keep");
    const taken = steps.flatMap((row, i) => {
      const from = x(row), to = i + 1 < steps.length ? x(steps[i + 1]) : bbox.left + bbox.width, level = y(row.bpb);
      const fall = i + 1 < steps.length ? [[to - unit, level, to + unit, y(steps[i + 1].bpb)]] : [];
      return [[from - gap, level - gap, from + gap, level + gap], [from, level - 2 * unit, to, level + 2 * unit], ...fall];
    });
    const others = rows.filter((row) => !isStep(row) && row.bpb != null).map((row) => [x(row), y(place(row))]);
    ctx.font = `${12 * unit}px system-ui, sans-serif`;
    ctx.lineJoin = "round";
    ctx.textAlign = "left";
    for (const row of [...keeps].sort((a, b) => b.gain - a.gain).slice(0, LABELS)) {
      let text = room < 140 * unit ? String(row.n) : `${row.n} ${row.what}`; // on a phone the number says enough
      while (text.length > 8 && ctx.measureText(text).width > room) text = text.slice(0, Math.floor(text.length * 0.85) - 1) + "…";
      const width = ctx.measureText(text).width;
      const places = [14, 0, 28, 42, -14, 56, 70, 84].flatMap((down) => [-width - 9 * unit, 9 * unit, -0.8 * width, -width / 2].map((left) => {
        const at = x(row) + left, middle = y(row.bpb) + side * down * unit;
        return [at, middle - height / 2, at + width, middle + height / 2, down];
      })).filter((box) => box[0] >= bbox.left && box[2] <= bbox.left + bbox.width && box[1] >= bbox.top && box[3] <= bbox.top + bbox.height - 10 * unit
        && !taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3]));
      const free = places.find((box) => !others.some(([left, top]) => box[0] < left && left < box[2] && box[1] < top && top < box[3])) || places[0];
      if (!free) continue;
      taken.push(free);
      if (free[4] > 20) { // a line to its dot
        const end = Math.min(Math.max(x(row), free[0]), free[2]);
        ctx.strokeStyle = color("line");
        ctx.lineWidth = unit;
        ctx.beginPath();
        ctx.moveTo(x(row), y(row.bpb) + side * gap);
        ctx.lineTo(end, study.rises ? free[3] : free[1]);
        ctx.stroke();
      }
      ctx.strokeStyle = color("card");
      ctx.lineWidth = 3 * unit;
      ctx.strokeText(text, free[0], (free[1] + free[3]) / 2);
      ctx.fillStyle = color("ink");
      ctx.fillText(text, free[0], (free[1] + free[3]) / 2);
    }
  }

  function nearest(left, top) {
    let found = null, least = REACH;
    for (const row of rows) {
      if (!isDrawn(row)) continue;
      const distance = Math.hypot(chart.valToPos(row.n, "x") - left, chart.valToPos(place(row), "y") - top);
      if (distance < least) [found, least] = [row, distance];
    }
    return found;
  }

  function hover(plot) {
    if (plot !== chart || plot.cursor.left == null || plot.cursor.left < 0) return;
    point(nearest(plot.cursor.left, plot.cursor.top));
  }

  function point(row) {
    if ((row ? row.n : null) === pointed) return;
    pointed = row ? row.n : null;
    $("tip")?.remove();
    if (row) {
      const tip = make("div");
      tip.id = "tip";
      const gain = row.gain == null || row.gain <= 0 ? "" : `, ${number(row.gain, 4)} better than the best before it`;
      tip.append(make("b", `${row.n} · ${row.outcome} · ${score(row)}`), make("div", row.what), make("div", row.bpb == null ? row.why : runs(row.runs) + gain, "quiet"));
      $("chart").append(tip);
      const left = chart.over.offsetLeft + chart.valToPos(row.n, "x"), top = chart.over.offsetTop + chart.valToPos(place(row), "y");
      tip.style.left = `${Math.max(0, Math.min(left + 14, $("chart").clientWidth - tip.offsetWidth - 2))}px`;
      tip.style.top = `${top > tip.offsetHeight + 16 ? top - tip.offsetHeight - 14 : top + 16}px`;
    }
    chart.redraw(false);
  }

  $("chart").addEventListener("keydown", (event) => {
    const all = rows.filter(isDrawn), from = rows[pointed ?? selected];
    const stepTo = { ArrowRight: [all, 1], ArrowLeft: [all, -1], ArrowUp: [all.filter(isStep), -1], ArrowDown: [all.filter(isStep), 1] }[event.key];
    let row = null;
    if (stepTo) row = step(...stepTo, from);
    else if (event.key === "Home") row = all[0];
    else if (event.key === "End") row = all.at(-1);
    else if (event.key === "Enter" && from) select(from.n, true, true);
    else if (event.key === "Escape") point(null);
    else return;
    event.preventDefault();
    if (!row) return;
    point(row);
    $("point").textContent = `Experiment ${row.n}, ${row.outcome}, ${score(row)}: ${row.what}`;
  });
  $("chart").addEventListener("blur", () => chart && point(null));

  // The next one of a list, ordered by number, from a row that may not be in it.
  function step(list, by, from) {
    if (!from) return by > 0 ? list[0] : list.at(-1);
    return (by > 0 ? list.find((row) => row.n > from.n) : list.findLast((row) => row.n < from.n)) || from;
  }

  // The table ------------------------------------------------------------------------------------------------------------

  const COLUMNS = [
    { key: "n", title: "#", style: "number" },
    { key: "bpb", title: "val_bpb", style: "number", text: (row) => bpb(row.bpb) },
    { key: "gain", title: "gain", style: "number spare", text: (row) => (row.gain == null ? "" : (row.gain > 0 ? "+" : "−") + number(Math.abs(row.gain), 4)) },
    { key: "outcome", title: "outcome" },
    { key: "what", title: "description", style: "what" },
    { key: "category", title: "edit", style: "spare" },
    { key: "agent", title: "agent", style: "spare" },
    { key: "seconds", title: "minutes", style: "number spare", text: (row) => (row.seconds == null ? "" : (row.seconds / 60).toFixed(1)) },
    { key: "usd", title: "cost", style: "number spare", text: (row) => (row.usd ? `$${row.usd.toFixed(2)}` : "") },
  ];

  for (const column of COLUMNS) {
    const head = roled(make("th", "", column.style), "columnheader"), button = make("button", column.title);
    head.scope = "col";
    button.type = "button";
    button.dataset.key = column.key;
    button.onclick = () => {
      sorting = { key: column.key, down: sorting.key === column.key ? !sorting.down : column.key === "gain" || column.key === "usd" };
      drawTable();
    };
    head.append(button);
    $("table").tHead.rows[0].append(head);
  }

  function chosenRows() {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (row) => ["outcome", "category", "agent"].every((key) => !$(key).value || (row[key] ?? "n/a") === $(key).value)
      && words.every((word) => `${row.n} ${row.what} ${row.why} ${row.commit} ${row.category} ${row.agent} ${row.state}`.toLowerCase().includes(word));
    const { key, down } = sorting;
    return rows.filter(matches).sort((a, b) => {
      if (a[key] == null || b[key] == null) return (a[key] == null) - (b[key] == null) || a.n - b.n; // unknown: last
      const order = typeof a[key] === "string" ? a[key].localeCompare(b[key]) : a[key] - b[key];
      return (down ? -order : order) || a.n - b.n;
    });
  }

  function drawTable() {
    for (const key of ["outcome", "category", "agent"]) {
      const known = new Set([...$(key).options].map((option) => option.value));
      for (const value of [...new Set(rows.map((row) => row[key] ?? "n/a"))].sort()) {
        if (known.has(value)) continue;
        const option = make("option", value);
        option.value = value;
        $(key).append(option);
      }
    }
    COLUMNS.forEach((column, i) => {
      const head = $("table").tHead.rows[0].cells[i];
      if (sorting.key === column.key) head.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const found = chosenRows(), body = $("table").tBodies[0];
    $("count").textContent = `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
    $("more").hidden = found.length <= shown;
    const focused = document.activeElement;
    found.slice(0, shown).forEach((row, i) => {
      const line = lineOf(row);
      if (body.rows[i] !== line) body.insertBefore(line, body.rows[i] || null); // a row that stays keeps its focus
    });
    while (body.rows.length > Math.min(shown, found.length)) body.lastChild.remove();
    if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
    markLines();
  }

  function lineOf(row) {
    const text = JSON.stringify(row), known = lines.get(row.n);
    if (known?.text === text) return known.line;
    const line = known?.line || roled(make("tr"), "row");
    line.replaceChildren(...COLUMNS.map((column) => {
      const cell = roled(make("td", column.text ? column.text(row) : String(row[column.key] ?? ""), column.style), "cell");
      if (column.key === "outcome") cell.classList.add("outcome", ["keep", "baseline", "crash", "discard"].includes(row.outcome) ? row.outcome : "discard");
      return cell;
    }));
    line.dataset.n = row.n;
    lines.set(row.n, { text, line });
    return line;
  }

  function markLines() {
    const body = $("table").tBodies[0], all = [...body.rows];
    const stop = all.find((line) => line === document.activeElement) || all.find((line) => Number(line.dataset.n) === selected) || all[0];
    for (const line of all) {
      line.setAttribute("aria-selected", Number(line.dataset.n) === selected);
      line.tabIndex = line === stop ? 0 : -1;
    }
  }

  $("table").tBodies[0].addEventListener("click", (event) => {
    const line = event.target.closest("tr");
    if (line && !String(getSelection())) select(Number(line.dataset.n), narrow.matches);
  });
  $("table").tBodies[0].addEventListener("keydown", (event) => {
    const line = event.target.closest("tr");
    const next = { ArrowDown: line.nextElementSibling, ArrowUp: line.previousElementSibling, Home: line.parentNode.firstChild, End: line.parentNode.lastChild }[event.key];
    if (next) {
      next.focus();
      markLines();
      event.preventDefault();
    } else if (event.key === "Enter" || event.key === " ") {
      select(Number(line.dataset.n), true, true);
      event.preventDefault();
    }
  });
  const filtered = () => {
    shown = BATCH;
    drawTable();
  };
  $("filter").addEventListener("input", filtered);
  $("filter").addEventListener("submit", (event) => event.preventDefault());
  $("more").onclick = () => {
    shown += BATCH;
    drawTable();
  };
  new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && !$("more").hidden && $("more").click(), { rootMargin: "400px" }).observe($("more"));

  // One experiment -------------------------------------------------------------------------------------------------------

  function detailsOf(n) {
    if (!details.has(n)) {
      const wanted = (isLive ? asked(n) : unpacked(n)).catch((error) => {
        details.delete(n);
        return { failed: String(error.message || error) };
      });
      details.set(n, wanted);
    }
    return details.get(n);
  }

  async function asked(n) {
    const answer = await fetch(`experiment/${n}`);
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  async function unpacked(n) {
    const part = Math.floor(n / study.part);
    if (!parts.has(part)) parts.set(part, inflate(study.parts[part]));
    return (await parts.get(part))[n % study.part];
  }

  async function inflate(packed) {
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
  }

  function select(n, go = false, focus = false) {
    if (!rows[n]) return;
    selected = n;
    try {
      history.replaceState(null, "", `#${n}`);
    } catch { /* a page in a frame of a mail reader may not */ }
    fillDetails(rows[n]);
    markLines();
    chart?.redraw(false);
    drawLosses();
    if (go) $("details").scrollIntoView({ block: narrow.matches ? "start" : "nearest" });
    if (focus) $("details").focus({ preventScroll: true });
  }

  async function fillDetails(row) {
    const isNew = $("details").dataset.n !== String(row.n);
    $("details").dataset.n = row.n;
    $("details").hidden = false;
    document.querySelector(".browse").classList.add("open");
    $("before").disabled = row.n === 0;
    $("after").disabled = row.n === rows.length - 1;
    $("d-title").textContent = `${row.n}. ${row.what}`;
    const outcome = make("b", row.outcome, row.outcome);
    $("d-score").replaceChildren(outcome, row.bpb == null ? "" : `, ${study.metric} ${score(row)} (${runs(row.scores)}${half(row) == null ? "; noise not measured" : "; 95 % interval"})`);
    $("d-by").textContent = [`by ${row.agent}`, row.category && `edit: ${row.category}`, `commit ${row.commit}`, row.usd && `$${row.usd.toFixed(3)}`, ...placed(row)].filter(Boolean).join(" · ");
    drawPin();
    if (isNew) {
      for (const id of ["d-why", "d-diff", "d-reasoning", "d-log"]) $(id).replaceChildren();
      $("details").scrollTop = 0;
    }
    const found = await detailsOf(row.n);
    if (selected !== row.n) return;
    $("d-why").textContent = found.failed ? `Its details can't be shown: ${found.failed}` : found.reason;
    fillDiff(found.diff || "", row.n === 0 ? "The baseline: train.py as the study began." : "No diff: git does not hold it.");
    $("d-reasoning").textContent = found.reasoning || "";
    $("d-thought").hidden = !found.reasoning;
    $("d-log").textContent = found.log || "";
    $("d-logged").hidden = !found.log;
    fillRuns(found.runs || []);
  }

  function placed(row) { // among several workers' experiments
    return [row.base != null && `an edit of experiment ${row.base}`, row.from != null && `experiment ${row.from} made again`, rebased.has(row.n) && `rebased as experiment ${rebased.get(row.n)}`];
  }

  function fillRuns(all) {
    const columns = [["k", "run"], ["worker", "worker"], ["seed", "seed"], ["val_bpb", study.metric], ["status", "status"], ["num_steps", "steps"], ["total_tokens", "tokens"], ["num_params", "parameters"], ["training_seconds", "training s", 1], ["startup_seconds", "start-up s", 1], ["mfu_percent", "MFU %", 2]]
      .filter(([key]) => all.some((run) => run[key] != null));
    const measured = [...new Set(all.flatMap((run) => Object.keys(run.measured || {})))];
    columns.push(...measured.map((name) => [name, name.replaceAll("_", " ")]));
    all = all.map((run) => ({ ...run, ...Object.fromEntries(measured.map((name) => [name, run.measured?.[name]])) }));
    const head = make("tr");
    head.append(...columns.map(([, title]) => make("th", title)));
    $("d-runs").tHead.replaceChildren(head);
    $("d-runs").tBodies[0].replaceChildren(...all.map((run) => cells(columns.map(([key, , digits]) => {
      const value = run[key];
      return value == null ? "–" : key === "val_bpb" ? bpb(value) : digits != null ? value.toFixed(digits) : typeof value === "number" ? value.toLocaleString("en") : value;
    }))));
  }

  function fillDiff(patch, none) {
    const texts = patch.split("\n").filter((text) => !/^(---|\+\+\+) (before|after)$/.test(text));
    if (texts.at(-1) === "") texts.pop();
    const out = texts.map((text) => make("div", text || " ", { "+": "add", "-": "cut", "@": "hunk" }[text[0]] || ""));
    for (let i = 0; i < texts.length; i++) { // as many lines in place of as many others: what differs within each is marked
      let cut = i, add;
      while (texts[cut]?.[0] === "-") cut++;
      for (add = cut; texts[add]?.[0] === "+"; ) add++;
      if (cut > i && add - cut === cut - i) for (let k = 0; k < cut - i; k++) markBoth(out[i + k], out[cut + k]);
      i = Math.max(i, add - 1);
    }
    $("d-diff").replaceChildren(...(out.length ? out : [make("div", none, "hunk")]));
  }

  function markBoth(cut, add) {
    const a = cut.textContent, b = add.textContent;
    let start = 1, end = 0;
    while (start < Math.min(a.length, b.length) && a[start] === b[start]) start++;
    while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) end++;
    if (start + end < 3) return; // nothing in common
    for (const [line, text] of [[cut, a], [add, b]]) line.replaceChildren(text.slice(0, start), make("mark", text.slice(start, text.length - end)), text.slice(text.length - end));
  }

  $("before").onclick = () => select(selected - 1);
  $("after").onclick = () => select(selected + 1);
  $("details").addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    $("back").click();
    (lines.get(selected)?.line.isConnected ? lines.get(selected).line : $("search")).focus();
  });

  // Losses ---------------------------------------------------------------------------------------------------------------

  const overlaid = () => [...new Set([0, study.best, ...pinned, selected])].filter((n) => n != null && rows[n]).slice(-8);

  function drawPin() {
    const isPinned = pinned.includes(selected);
    $("d-pin").textContent = isPinned ? "Take its loss curve out of the overlay" : "Keep its loss curve in the overlay";
    $("d-pin").setAttribute("aria-pressed", isPinned);
  }
  $("d-pin").onclick = () => {
    pinned = pinned.includes(selected) ? pinned.filter((n) => n !== selected) : [...pinned, selected];
    drawPin();
    drawLosses();
  };

  async function drawLosses() {
    const wanted = overlaid(), key = wanted.join();
    const found = await Promise.all(wanted.map(detailsOf));
    if (key !== overlaid().join()) return; // another choice meanwhile
    const curves = wanted.map((n, i) => ({ n, y: found[i].curve || [] })).filter((curve) => curve.y.length);
    losses?.destroy();
    losses = null;
    $("chosen").replaceChildren(...curves.map(({ n }, i) => chip(n, i)));
    if (!curves.length) {
      $("losses").replaceChildren(make("p", "No loss curve is there yet.", "quiet"));
      return;
    }
    $("losses").replaceChildren();
    const late = curves.flatMap(({ y }) => y.slice(20)).filter((y) => y != null), every = curves.flatMap(({ y }) => y).filter((y) => y != null);
    const low = Math.min(...every), high = Math.max(...(late.length ? late : every)), room = 0.06 * (high - low) || 0.1;
    const percent = curves[0].y.map((_, i) => (100 * (i + 0.5)) / curves[0].y.length);
    losses = new uPlot({
      ...size($("losses")),
      padding: [10, 20, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: false, range: () => [0, 100] }, y: { range: () => [low - room, high + room] } },
      axes: [axis({ size: 34, values: (plot, ticks) => ticks.map((tick) => `${tick} %`) }), axis({ size: 50 })],
      series: [{}, ...curves.map(({ n }, i) => ({ stroke: color(`c${i % 8}`), width: n === selected ? 3 : 2, dash: n === 0 ? [6, 4] : undefined, points: { show: false }, spanGaps: true }))],
      hooks: { setCursor: [(plot) => curves.forEach(({ y }, i) => {
        const value = plot.cursor.idx == null ? y.findLast((one) => one != null) : y[plot.cursor.idx];
        $("chosen").children[i].lastChild.textContent = value == null ? "" : ` ${value.toFixed(3)}`;
      })] },
    }, [percent, ...curves.map(({ y }) => y)], $("losses"));
    losses.setCursor({ left: -10, top: -10 });
    $("losses").setAttribute("aria-label", `Training losses of ${curves.map(({ n, y }) => `experiment ${n}, at the end ${y.findLast((one) => one != null)}`).join("; ")}`);
  }

  function chip(n, i) {
    const button = make("button"), mark = make("i", n === 0 ? "╌" : "━"), name = n === 0 ? "baseline" : n === study.best ? `best, ${n}` : `${n}`;
    button.type = "button";
    mark.style.color = `var(--c${i % 8})`;
    button.append(mark, name, pinned.includes(n) ? " ✕" : "", make("span"));
    button.setAttribute("aria-label", pinned.includes(n) ? `Take experiment ${n} out` : `Open experiment ${n}`);
    button.onclick = () => {
      if (!pinned.includes(n)) return select(n, true);
      pinned = pinned.filter((one) => one !== n);
      drawPin();
      drawLosses();
    };
    return button;
  }

  // The window, and the study while it runs ------------------------------------------------------------------------------

  new ResizeObserver(() => {
    for (const [plot, box] of [[chart, $("chart")], [losses, $("losses")]]) if (plot && box.clientWidth !== plot.width) plot.setSize(size(box));
  }).observe(document.querySelector("main"));
  dark.addEventListener("change", () => {
    chart?.destroy();
    chart = null;
    drawChart();
    drawLosses();
  });

  function begin() {
    show();
    const wanted = Number(location.hash.slice(1));
    if (selected == null && location.hash.length > 1 && rows[wanted]) select(wanted, true);
  }

  if (!isLive) return begin();
  const source = new EventSource("events");
  source.addEventListener("state", (event) => {
    study = JSON.parse(event.data);
    details.clear();
    begin();
  });
  source.addEventListener("change", (event) => {
    const change = JSON.parse(event.data), experiments = study.experiments;
    for (const row of change.experiments) {
      experiments[row.n] = row;
      details.delete(row.n);
    }
    study = { ...change, experiments };
    show();
  });
  source.onerror = () => notice("The connection to autoresearch serve is lost; this page goes on by itself when it is back.");
})();
