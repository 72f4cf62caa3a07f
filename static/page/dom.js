'use strict';

// The few DOM operations that every part of the page uses. Text from outside becomes text nodes
// only, never markup.

const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// Calls `submit` for Enter in a field, for the form's button, and for Ctrl+Enter in a text area.
function onSubmit(form, submit) {
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    submit();
  });
  form.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}

// Keeps a field's value for this tab: through a reload, not beyond the tab's end.
function rememberInTab(field) {
  const key = `gtower.${field.id}`;
  field.value = sessionStorage.getItem(key) ?? field.value;
  field.addEventListener('input', () => sessionStorage.setItem(key, field.value));
}

async function copyText(text, button) {
  const label = button.textContent;
  const copied = await writeClipboard(text);
  button.textContent = copied ? 'Copied' : 'Not allowed';
  setTimeout(() => { button.textContent = label; }, 1500);
}

async function writeClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // A page from http://some-host has no navigator.clipboard; the old way still works there.
    return writeClipboardBySelection(text);
  }
}

function writeClipboardBySelection(text) {
  const focused = document.activeElement;
  const area = element('textarea', { value: text, className: 'off-screen' });
  document.body.append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  focused.focus();
  return copied;
}
