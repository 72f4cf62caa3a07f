'use strict';

// Loads the stock Socket.IO client: from the server that served the page, or, when the file was
// opened from disk, from beside it. The other place is tried second.

const FROM_DISK = location.protocol === 'file:';
const BUNDLES = ['socket.io/socket.io.min.js', 'vendor/socket.io.min.js'];

async function loadBundle() {
  for (const url of FROM_DISK ? BUNDLES.toReversed() : BUNDLES) {
    if (await loadScript(url)) return true;
  }
  return false;
}

function loadScript(url) {
  return new Promise((resolve) => {
    const script = element('script', {
      src: url,
      onload: () => resolve(true),
      onerror: () => {
        script.remove();
        resolve(false);
      },
    });
    document.head.append(script);
  });
}
