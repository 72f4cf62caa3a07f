'use strict';

// What an answer of the server says of nodes that have not answered in time.

// Returns a sentence, or '' for an answer of all nodes. `answer` is any JSON value; the list of
// clients says it in `headers`, a batch in each of its results.
function whatIsMissing(answer, headers) {
  const parts = [answer, ...(Array.isArray(answer?.results) ? answer.results : [])];
  const isPartial = headers?.get('X-Partial') === 'true' || parts.some((part) => part?.partial);
  if (!isPartial) return '';
  const named = (headers?.get('X-Nodes-Missing') ?? '').split(',').map((name) => name.trim());
  const told = parts.flatMap((part) => part?.nodesMissing ?? []);
  const names = [...new Set([...named, ...told])].filter((name) => name);
  if (!names.length) return 'partial: not all nodes have answered';
  return `partial: ${names.length === 1 ? 'node' : 'nodes'} ${names.join(', ')} did not answer`;
}
