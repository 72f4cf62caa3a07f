'use strict';

// One HTTP request to the server that the form names; the answer is shown and logged.

const HTTP_TIMEOUT_MS = 60000;

// `target` is path and query, `body` JSON text or undefined. Resolves with the parsed answer,
// undefined when there is none.
async function requestAndShow({ method, target, headers, body }, output, log) {
  const name = `${method} ${target}`;
  const url = serverAddress() + target;
  const started = performance.now();
  let response;
  let text;
  try {
    response = await fetch(url, {
      method,
      headers: { ...bodyHeader(body), ...headers },
      body,
      signal: AbortSignal.timeout(HTTP_TIMEOUT_MS),
    });
    text = await response.text();
  } catch (error) {
    const advice = 'Is the server up, and does CORS_ORIGIN allow this page?';
    showProblem(output, `No answer from ${url}. ${advice}`);
    log.add('http', name, { error: error.message });
    return undefined;
  }
  const answer = readAnswer(text);
  showHttpAnswer(output, response, answer, Math.round(performance.now() - started));
  log.add('http', name, { status: response.status, answer });
  return answer;
}

function bodyHeader(body) {
  return body === undefined ? {} : { 'Content-Type': 'application/json' };
}

function readAnswer(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function showHttpAnswer(output, response, answer, milliseconds) {
  output.replaceChildren(
    element('span', {
      className: response.ok ? 'verdict good' : 'verdict bad',
      textContent: `${response.status} ${response.statusText}`,
    }),
    element('small', { textContent: `${milliseconds} ms` }),
    ...warning(whatIsMissing(answer, response.headers)),
    jsonBlock(prettyJson(answer)),
  );
}
