// Numbers and times as people read them.

const UNITS = ['B', 'KB', 'MB', 'GB'];

const short = (value) =>
  value >= 99.5 || Number.isInteger(value) ? Math.round(value).toLocaleString('en') : value.toPrecision(2);

export const count = (value) => (value === null ? '–' : short(value));

export const perSecond = (value) => (value === null ? '–' : short(value));

export function bytes(value) {
  if (value === null) return '–';
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${short(value)} ${UNITS[unit]}`;
}

export function milliseconds(seconds) {
  return seconds === null ? '–' : `${short(seconds * 1000)} ms`;
}

export const time = (timestamp) => new Date(timestamp).toLocaleTimeString('en-GB');

export const ago = (timestamp) => duration(Math.max(0, (Date.now() - Date.parse(timestamp)) / 1000));

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

// Whom an event was for, in words.
export function whom(target) {
  if (target.all) return 'everyone';
  const kinds = { rooms: 'room', users: 'user', clients: 'client' };
  const parts = Object.entries(kinds)
    .filter(([kind]) => target[kind])
    .map(([kind, word]) => `${word} ${target[kind].slice(0, 3).join(', ')}${target[kind].length > 3 ? '…' : ''}`);
  return parts.join(' · ');
}
