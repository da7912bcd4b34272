"use strict";
// Elements are made, never parsed: every text of the data goes in as a text node, so none of it can be markup.

const SVG = "http://www.w3.org/2000/svg";

function element(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function drawn(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "color") node.style.setProperty(node.tagName === "BUTTON" ? "--swatch" : "color", value);
    else if (name === "stroke" || name === "fill") node.style.setProperty(name, value);
    else if (name === "background") node.style.background = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(3)) {
    if (child === null || child === undefined) continue;
    node.append(typeof child === "object" ? child : document.createTextNode(String(child)));
  }
  return node;
}

function select(label, options, value, changed) {
  const list = element("select", { onchange: (event) => changed(event.target.value) },
    options.map(([key, text]) => element("option", { value: key, selected: key === value }, text)));
  return element("label", {}, label, list);
}

function fixed(value, digits) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

function percentText(share, digits = 1) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)} %`;
}

const tip = document.getElementById("tooltip");

function showTip(event, text) {
  tip.textContent = text;
  tip.hidden = false;
  const box = event.target.getBoundingClientRect();
  const x = event.clientX || box.left + box.width / 2;
  const y = event.clientY || box.top;
  const width = tip.offsetWidth, height = tip.offsetHeight;
  tip.style.left = `${Math.max(4, Math.min(x + 12, window.innerWidth - width - 4))}px`;
  tip.style.top = `${y + 16 + height > window.innerHeight ? Math.max(4, y - height - 10) : y + 16}px`;
}

function hideTip() {
  tip.hidden = true;
}

// A mark that shows its tooltip to mouse, finger and keyboard.
function tipped(attributes, text, ...children) {
  return drawn("g", {
    class: "focus", tabindex: "0", role: "img", "aria-label": text.replace(/\n/g, ", "),
    onpointerenter: (event) => showTip(event, text), onpointermove: (event) => showTip(event, text),
    onpointerleave: hideTip, onfocus: (event) => showTip(event, text), onblur: hideTip, ...attributes,
  }, ...children);
}
