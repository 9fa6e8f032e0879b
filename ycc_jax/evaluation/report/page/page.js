"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const node = (tag, text, attributes = {}) => {
  const element = Object.assign(document.createElement(tag), attributes);
  element.textContent = text;
  return element;
};

// ---- plots: values on hover or touch; the legend shows and hides curves ------------------------
const hidden = new Set();
const emphasise = (root, id) =>
  all("[data-curve], [data-line]", root).forEach((g) =>
    g.classList.toggle("dim", id !== null && (g.dataset.curve ?? g.dataset.line) !== id));

function nearest(figure, event) {
  let best = null, least = 24;
  for (const group of new Set(all("[data-curve]", figure).map((g) => g.dataset.curve))) {
    if (hidden.has(group)) continue;
    all(`[data-curve="${group}"] use`, figure).forEach((use, index) => {
      const box = use.getBoundingClientRect();
      const distance = Math.hypot(
        box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
      if (distance < least) { least = distance; best = { group, index, box }; }
    });
  }
  return best;
}

function tell(event) {
  const figure = event.currentTarget, tip = $("tip"), found = nearest(figure, event);
  tip.hidden = !found;
  emphasise(figure, found && found.group);
  if (!found) return;
  const name = data.curves[found.group].name;
  tip.replaceChildren(
    node("strong", name), node("br", ""), data.plots[figure.id][found.group][found.index]);
  const width = document.documentElement.clientWidth;
  tip.style.left = `${Math.max(4, Math.min(found.box.x + 12, width - tip.offsetWidth - 4))}px`;
  tip.style.top = `${found.box.y + scrollY - tip.offsetHeight - 8}px`;
}

for (const figure of all("figure[id]")) {
  figure.addEventListener("pointermove", tell);
  figure.addEventListener("pointerdown", tell);
  figure.addEventListener("pointerleave", () => { $("tip").hidden = true; emphasise(figure, null); });
}

for (const button of all(".legend button")) {
  const id = button.dataset.toggle;
  button.addEventListener("click", () => {
    const shown = hidden.has(id);
    if (shown) hidden.delete(id); else hidden.add(id);
    button.setAttribute("aria-pressed", shown);
    all(`[data-curve="${id}"], [data-line="${id}"]`).forEach((g) => g.classList.toggle("off", !shown));
  });
  button.addEventListener("pointerenter", () => emphasise(document, id));
  button.addEventListener("pointerleave", () => emphasise(document, null));
}

// ---- BD-rate -----------------------------------------------------------------------------------
function table() {
  const anchor = Number($("anchor").value), row = (i) => data.bd[anchor][i];
  const rate = (i) => { const cell = row(i)[data.order]; return cell.percent ?? Infinity; };
  const order = data.curves.map((_, i) => i).filter((i) => i !== anchor).sort((a, b) => rate(a) - rate(b) || a - b);
  $("bd-rows").replaceChildren(...order.map((i) => {
    const line = document.createElement("tr"), name = node("th", "", { scope: "row" });
    name.append(swatch(i), ` ${data.curves[i].name}`);
    line.append(name, ...row(i).map((cell) => {
      if (cell.refused) return node("td", "–", { className: "number none", title: cell.refused });
      const text = `${cell.percent > 0 ? "+" : cell.percent < 0 ? "−" : ""}${Math.abs(cell.percent).toFixed(1)} %${cell.mark}`;
      return node("td", text, { className: `number${cell.percent < 0 ? " better" : ""}`, title: cell.range });
    }));
    return line;
  }));
}
const swatch = (i) => document.querySelector(`[data-toggle="${i}"] svg`).cloneNode(true);
if ($("anchor")) { $("anchor").addEventListener("change", table); table(); }

// ---- pictures ----------------------------------------------------------------------------------
const gallery = data.gallery;
if (!gallery) return;
const stage = $("stage"), canvas = $("canvas"), divider = $("divider"), slider = $("quality");
const context = canvas.getContext("2d");
const view = { scale: 1, x: 0, y: 0, fitted: true, split: 0.5 };
let sides = [], request = 0;

const picture = () => gallery.pictures[$("picture").value];
const plane = () => document.querySelector("[name=plane]:checked").value;
const step = () => Number(slider.value);

/** What a side shows: the original, or the codec's point nearest to the rate of the slider. */
function chosen(select) {
  const own = picture(), codec = Number(select.value);
  if (codec < 0 || $("original").getAttribute("aria-pressed") === "true")
    return { image: own.original, name: "original", codec: -1 };
  const rate = Math.log(own.codecs[0][step()].bpp);
  const off = (point) => Math.abs(Math.log(point.bpp) - rate);
  const point = codec ? own.codecs[codec].reduce((a, b) => (off(b) < off(a) ? b : a)) : own.codecs[0][step()];
  return { ...point, name: gallery.codecs[codec].name, codec };
}

const decoded = new Map();
/** The picture, or one plane of it (BT.601, full range) as grey, on a canvas of its own size. */
async function pixels(image, plane) {
  const key = `${image} ${plane}`;
  if (decoded.has(key)) return decoded.get(key);
  const element = new Image();
  element.src = `data:image/webp;base64,${$(image).textContent}`;
  await element.decode();
  const own = Object.assign(document.createElement("canvas"), { width: element.naturalWidth, height: element.naturalHeight });
  const ink = own.getContext("2d", { willReadFrequently: plane !== "rgb" });
  ink.drawImage(element, 0, 0);
  if (plane !== "rgb") {
    const grid = ink.getImageData(0, 0, own.width, own.height), v = grid.data;
    for (let i = 0; i < v.length; i += 4) {
      const y = 0.299 * v[i] + 0.587 * v[i + 1] + 0.114 * v[i + 2];
      v[i] = v[i + 1] = v[i + 2] =
        plane === "y" ? y : plane === "cb" ? 128 + (v[i + 2] - y) / 1.772 : 128 + (v[i] - y) / 1.402;
    }
    ink.putImageData(grid, 0, 0);
  }
  if (decoded.size > 20) decoded.delete(decoded.keys().next().value);
  decoded.set(key, own);
  return own;
}

const HEAT = [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]];
/** Bits of each block as a small picture, and the number of bits of its lightest colour. */
function heat(bits) {
  const most = [...bits.values].sort((a, b) => a - b)[Math.floor(bits.values.length * 0.99)] || 1;
  const own = Object.assign(document.createElement("canvas"), { width: bits.columns, height: bits.values.length / bits.columns });
  const grid = new ImageData(own.width, own.height);
  bits.values.forEach((value, i) => {
    const place = Math.min(value / most, 1) * (HEAT.length - 1), k = Math.min(Math.floor(place), HEAT.length - 2);
    HEAT[k].forEach((low, c) => { grid.data[4 * i + c] = low + (HEAT[k + 1][c] - low) * (place - k); });
    grid.data[4 * i + 3] = 190;
  });
  own.getContext("2d").putImageData(grid, 0, 0);
  return { own, most };
}

const kilobytes = (bytes) => `${(bytes / 1000).toFixed(bytes < 1e5 ? 1 : 0)} kB`;
function describe(box, tag, side) {
  const dot = document.createElement("i"), title = node("strong", "");
  if (side.codec >= 0) dot.style.background = gallery.codecs[side.codec].colour;
  title.append(dot, side.name);
  box.replaceChildren(title);
  tag.textContent = side.name;
  if (side.codec < 0) return box.append(`${picture().width} × ${picture().height} pixels`);
  const quality = side.quality === null ? "" : `quality ${Number(side.quality.toFixed(1))} · `;
  const psnr = side.psnr === null ? "lossless" : `${side.psnr.toFixed(2)} dB`;
  box.append(`${side.bpp.toFixed(3)} bpp · PSNR`, node("sub", "Y"), ` ${psnr}`, node("br", ""), `${quality}${kilobytes(side.bytes)}`);
}

/** Loads what both sides show, then draws and describes it; a later call takes precedence. */
async function show() {
  const mine = ++request, found = [$("left"), $("right")].map(chosen);
  const canvases = await Promise.all(found.map((side) => pixels(side.image, plane())));
  if (mine !== request) return;
  sides = found.map((side, i) => ({ ...side, pixels: canvases[i] }));
  const mapped = $("bits").checked ? sides.filter((side) => side.bits) : [];
  mapped.forEach((side) => { side.heat = heat(side.bits); });
  $("heat").hidden = !$("bits").checked;
  $("heat-text").textContent = mapped.length
    ? `0 to ${Math.round(mapped[0].heat.most)} bits or more per 16 × 16 pixels`
    : `only ${gallery.codecs[0].name} tells where its bits went: choose it for a side`;
  describe($("left-text"), $("left-tag"), sides[0]);
  describe($("right-text"), $("right-tag"), sides[1]);
  const point = picture().codecs[0][step()];
  if (point.quality !== null) {
    $("rate").textContent = `${Number(point.quality.toFixed(1))} · ${point.bpp.toFixed(3)} bpp`;
    slider.setAttribute("aria-valuetext", `quality ${point.quality}, ${point.bpp.toFixed(3)} bits per pixel`);
  }
  draw();
  stage.dataset.shown = mine;
}

// Scales in CSS pixels per pixel of the picture.
const density = () => devicePixelRatio || 1;
const fit = () => stage.clientWidth / picture().width;
const least = () => Math.min(fit(), 1 / density());
const most = () => Math.max(fit(), 32 / density());
function draw() {
  const { width, height } = picture();
  view.scale = view.fitted ? fit() : Math.min(Math.max(view.scale, least()), most());
  const [across, down] = [stage.clientWidth / view.scale, stage.clientHeight / view.scale];
  // Smaller than the stage: in its middle.
  view.x = across > width ? (width - across) / 2 : Math.min(Math.max(view.x, 0), width - across);
  view.y = down > height ? (height - down) / 2 : Math.min(Math.max(view.y, 0), height - down);
  canvas.width = Math.round(stage.clientWidth * density());
  canvas.height = Math.round(stage.clientHeight * density());
  const scale = view.scale * density(), edge = Math.round(view.split * canvas.width);
  context.imageSmoothingQuality = "high";
  sides.forEach((side, i) => {
    context.save();
    context.beginPath();
    context.rect(i ? edge : 0, 0, i ? canvas.width - edge : edge, canvas.height);
    context.clip();
    context.translate(Math.round(-view.x * scale), Math.round(-view.y * scale));
    context.scale(scale, scale);
    context.beginPath();
    context.rect(0, 0, width, height);
    context.clip();
    // Enlarged pixels stay pixels.
    context.imageSmoothingEnabled = scale < 2;
    context.drawImage(side.pixels, 0, 0);
    context.imageSmoothingEnabled = false;
    if (side.heat) context.drawImage(side.heat.own, 0, 0, side.heat.own.width * 16, side.heat.own.height * 16);
    context.restore();
  });
  divider.style.left = `${view.split * 100}%`;
  divider.setAttribute("aria-valuenow", Math.round(view.split * 100));
  stage.classList.toggle("zoomed", view.scale > fit() * 1.001);
  $("zoom").textContent = `${Math.round(scale * 100)} %`;
}

function layout() {
  const { width, height } = picture();
  stage.style.aspectRatio = `${width} / ${height}`;
  stage.style.width = `min(100%, 80vh * ${width / height})`;
  draw();
}

/** Shows the picture at a scale; the point (x, y) of the stage stays where it is. */
function scaleTo(scale, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const before = view.scale;
  view.fitted = false;
  view.scale = Math.min(Math.max(scale, least()), most());
  view.x += x / before - x / view.scale;
  view.y += y / before - y / view.scale;
  draw();
}
function zoom(factor, x, y) {
  const scale = view.scale * factor;
  if (factor < 1 && scale <= fit() && view.scale >= fit()) whole(); else scaleTo(scale, x, y);
}
function oneToOne() { scaleTo(1 / density()); }
function whole() { view.fitted = true; draw(); }
function split(share) { view.split = Math.min(Math.max(share, 0), 1); draw(); }

const pointers = new Map();
stage.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, divides: event.target === divider });
  stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", (event) => {
  const from = pointers.get(event.pointerId), box = stage.getBoundingClientRect();
  if (!from) return;
  const to = { x: event.clientX, y: event.clientY, divides: from.divides };
  const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
  pointers.set(event.pointerId, to);
  if (from.divides) return split((to.x - box.x) / box.width);
  if (other) {
    const spread = (p) => Math.hypot(p.x - other.x, p.y - other.y) || 1;
    zoom(spread(to) / spread(from), (to.x + other.x) / 2 - box.x, (to.y + other.y) / 2 - box.y);
  } else if (!view.fitted) {
    view.x -= (to.x - from.x) / view.scale;
    view.y -= (to.y - from.y) / view.scale;
    draw();
  }
});
for (const end of ["pointerup", "pointercancel"])
  stage.addEventListener(end, (event) => pointers.delete(event.pointerId));
// The wheel scrolls the page unless the picture is in use.
stage.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !stage.contains(document.activeElement)) return;
  event.preventDefault();
  const box = stage.getBoundingClientRect();
  zoom(Math.exp(-Math.min(Math.max(event.deltaY, -100), 100) / 300), event.clientX - box.x, event.clientY - box.y);
}, { passive: false });

const KEYS = {
  "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: whole, 1: oneToOne,
  ArrowLeft: () => pan(-1, 0), ArrowRight: () => pan(1, 0), ArrowUp: () => pan(0, -1), ArrowDown: () => pan(0, 1),
};
function pan(x, y) { view.x += (x * 60) / view.scale; view.y += (y * 60) / view.scale; draw(); }
const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -100, End: 100 };
stage.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const { key, target } = event;
  if (target === divider && STEPS[key]) split(view.split + (STEPS[key] / 100) * (event.shiftKey ? 10 : 1));
  // At the whole picture nothing can be moved: arrows scroll the page.
  else if (KEYS[key] && !(key.startsWith("Arrow") && view.fitted)) KEYS[key]();
  else return;
  event.preventDefault();
});
$("zoom-in").addEventListener("click", () => zoom(1.5));
$("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
$("zoom-one").addEventListener("click", oneToOne);
$("zoom-fit").addEventListener("click", whole);
$("original").addEventListener("click", (event) => {
  const button = event.currentTarget;
  button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
  show();
});
for (const input of [$("left"), $("right"), $("bits"), ...all("[name=plane]")]) input.addEventListener("change", show);
slider.addEventListener("input", show);
$("picture").addEventListener("change", () => { view.fitted = true; show().then(layout); });
new ResizeObserver(draw).observe(stage);
layout();
show();
})();
