'use strict';

// Sending any client event of the catalogue, with a text or JSON argument.

function setUpEmitForm(connection) {
  const choice = byId('emit-event');
  choice.append(...CLIENT_EVENTS.map(({ event, about }) =>
    element('option', { value: event, textContent: about ? `${event} – ${about}` : event })));
  choice.addEventListener('change', showSample);
  onSubmit(byId('emit'), () => emitFromForm(connection));
  showSample();
}

function chosenEvent() {
  return CLIENT_EVENTS[byId('emit-event').selectedIndex];
}

function showSample() {
  const { sample } = chosenEvent();
  const isText = typeof sample === 'string';
  byId(isText ? 'argument-is-text' : 'argument-is-json').checked = true;
  byId('emit-argument').value = isText ? sample : prettyJson(sample);
  byId('emit-answer').replaceChildren();
}

async function emitFromForm(connection) {
  const { event } = chosenEvent();
  let argument;
  try {
    argument = readArgument();
  } catch (error) {
    showProblem(byId('emit-answer'), `The argument is not JSON: ${error.message}`);
    return;
  }
  await emitAndShow(connection, byId('emit-answer'), event, argument);
}

// Raises SyntaxError when JSON is wanted and the text is not JSON; empty JSON is no argument.
function readArgument() {
  const text = byId('emit-argument').value;
  if (byId('argument-is-text').checked) return text;
  return text.trim() === '' ? undefined : JSON.parse(text);
}

// Emits and shows the acknowledgement, or why there is none, in `output`.
async function emitAndShow(connection, output, event, argument) {
  try {
    showAnswer(output, event, await connection.emit(event, argument));
  } catch (error) {
    showProblem(output, `${event}: ${error.message}`);
  }
}

function showAnswer(output, event, answer) {
  const isAccepted = answer?.ok === true;
  output.replaceChildren(
    element('span', {
      className: isAccepted ? 'verdict good' : 'verdict bad',
      textContent: isAccepted ? `${event} accepted` : `${event} refused`,
    }),
    ...warning(whatIsMissing(answer)),
    jsonBlock(prettyJson(answer)),
  );
}

// Returns the parts of an output that show `text`, if there is one.
function warning(text) {
  return text ? [element('span', { className: 'verdict warn', textContent: text })] : [];
}

function showProblem(output, text) {
  output.replaceChildren(element('span', { className: 'verdict bad', textContent: text }));
}
