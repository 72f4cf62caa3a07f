// The HTTP API, shown and tried out with Swagger UI, from this server's own document.
'use strict';

// Swagger UI has its dark colours behind a class, not behind the media query.
const dark = window.matchMedia('(prefers-color-scheme: dark)');
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', follow);
follow();

window.SwaggerUIBundle({
  url: '/openapi.json',
  domNode: document.getElementById('reference'),
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
  // Would ask a server on the internet.
  validatorUrl: null,
});
