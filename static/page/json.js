'use strict';

// JSON for people: an object or array that fits stays on one line, a longer one is broken up.

const LINE_CHARACTERS = 56;

// Longer payloads are cut on screen: a megabyte of text in one entry would freeze the page.
const SHOWN_CHARACTERS = 20000;

function prettyJson(value) {
  if (value === undefined) return '';
  const compact = JSON.stringify(value);
  const surplus = compact.length - SHOWN_CHARACTERS;
  if (surplus > 0) return `${compact.slice(0, SHOWN_CHARACTERS)}\n… and ${surplus} more characters`;
  return laidOut(JSON.parse(compact), '');
}

function laidOut(value, indent) {
  const line = onOneLine(value);
  if (line.length <= LINE_CHARACTERS - indent.length || !isContainer(value)) return line;
  const inner = `${indent}  `;
  const rows = Array.isArray(value)
    ? value.map((item) => inner + laidOut(item, inner))
    : Object.entries(value).map(([key, item]) =>
      `${inner}${JSON.stringify(key)}: ${laidOut(item, inner)}`);
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  return `${open}\n${rows.join(',\n')}\n${indent}${close}`;
}

function onOneLine(value) {
  if (!isContainer(value)) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(onOneLine).join(', ')}]`;
  const members = Object.entries(value).map(([key, item]) =>
    `${JSON.stringify(key)}: ${onOneLine(item)}`);
  return members.length > 0 ? `{ ${members.join(', ')} }` : '{}';
}

function isContainer(value) {
  return typeof value === 'object' && value !== null;
}

// A <pre> with the keys set off from the values.
function jsonBlock(text) {
  const pieces = text.split(/("(?:[^"\\]|\\.)*")(?=: )/);
  return element('pre', {}, ...pieces.map((piece, index) =>
    index % 2 === 1 ? element('span', { className: 'key', textContent: piece }) : piece));
}
