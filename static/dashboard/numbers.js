// Prometheus counts from the start of the process; people want to know what happens now. Pure
// functions over two looks at the metrics: `now` and `before`, each {at: seconds, samples}.

const SAMPLE = /^([a-z_]+)(?:\{(.*)\})?$/;
const LABEL = /([a-z_]+)="([^"]*)"/g;

const parsed = new Map();

function parse(key) {
  if (!parsed.has(key)) {
    const [, name, labels = ''] = SAMPLE.exec(key) ?? [null, key];
    const pairs = [...labels.matchAll(LABEL)].map(([, label, value]) => [label, value]);
    parsed.set(key, { name, labels: Object.fromEntries(pairs) });
  }
  return parsed.get(key);
}

// All samples of a metric: [{labels, value}].
export function samplesOf(look, metric) {
  return Object.entries(look.samples)
    .map(([key, value]) => ({ ...parse(key), value }))
    .filter(({ name }) => name === metric);
}

// The sum over all labels, or over those that have this one; null when there is no such metric.
export function total(look, metric, label, value) {
  const found = samplesOf(look, metric)
    .filter(({ labels }) => label === undefined || labels[label] === value);
  return found.length ? found.reduce((sum, sample) => sum + sample.value, 0) : null;
}

// How much a counter has risen a second between two looks.
export function rate(now, before, metric) {
  const risen = total(now, metric) - (total(before, metric) ?? 0);
  const seconds = now.at - before.at;
  // Below zero it has begun anew: another process answers now.
  return seconds > 0 && risen >= 0 ? risen / seconds : null;
}

// What a share of the observations between two looks does not exceed, as histogram_quantile of
// Prometheus estimates it; null when there was none.
export function quantile(now, before, metric, share) {
  const counts = new Map();
  const add = (look, sign) => samplesOf(look, `${metric}_bucket`).forEach(({ labels, value }) => {
    const limit = labels.le === '+Inf' ? Infinity : Number(labels.le);
    counts.set(limit, (counts.get(limit) ?? 0) + sign * value);
  });
  add(now, 1);
  add(before, -1);
  const buckets = [...counts].sort(([one], [other]) => one - other);
  const all = buckets.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  const wanted = share * all;
  let [low, below] = [0, 0];
  for (const [limit, count] of buckets) {
    if (count >= wanted) {
      if (limit === Infinity) return low;
      return low + (limit - low) * ((wanted - below) / Math.max(count - below, 1));
    }
    [low, below] = [limit, count];
  }
  return low;
}
