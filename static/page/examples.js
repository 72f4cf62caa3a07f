'use strict';

// Makes the examples ready to paste: this server's own address in them, and buttons that copy them.

if (location.protocol !== 'file:') {
  const server = new URL('.', location.href).href.replace(/\/$/, '');
  document.querySelectorAll('.origin').forEach((node) => { node.textContent = server; });
}

document.querySelectorAll('[data-copies]').forEach((button) => {
  button.addEventListener('click', () => {
    copyText(byId(button.dataset.copies).textContent, button);
  });
});
