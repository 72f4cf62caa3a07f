// Small line charts over time, by uPlot. Colours are the page's and follow light and dark.

const HEIGHT = 180;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A chart with a line for each of `lines`: {label, colour: a variable of page.css}. `format` says
// a value; times are seconds.
export class Chart {
  #plot;
  #box;
  #points;

  constructor(parent, title, lines, format) {
    const shown = () => this.#period;
    this.#box = element('div', { className: 'chart' });
    this.#points = [[], ...lines.map(() => [])];
    parent.append(element('figure', { className: 'card' },
      element('figcaption', {}, element('h2', { textContent: title })), this.#box));
    this.#draw = () => {
      this.#plot?.destroy();
      this.#plot = new uPlot(options(this.#box, lines, format, shown), this.#points, this.#box);
    };
    this.#draw();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', this.#draw);
    new ResizeObserver(() => this.#plot.setSize({ width: this.#box.clientWidth, height: HEIGHT }))
      .observe(this.#box);
  }

  #draw;
  #period = null;

  // Shows [times, values of the first line, …] over a period, [from, to], or as far as they reach.
  show(points, period = null) {
    this.#period = period;
    this.#points = points;
    this.#plot.setData(points);
  }
}

function options(box, lines, format, period) {
  const axis = {
    stroke: colour('--muted'),
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { stroke: colour('--line'), width: 1 },
    font: '11px system-ui',
  };
  return {
    width: box.clientWidth || 400,
    height: HEIGHT,
    cursor: { y: false },
    scales: {
      x: { range: (_plot, first, last) => period() ?? [first, last] },
      y: { range: (_plot, _least, most) => [0, most > 0 ? most * 1.1 : 1] },
    },
    axes: [{ ...axis, space: 80, values: (plot, times) => times.map(timesOf(plot)) }, { ...axis, size: 64, values: (_plot, ticks) => ticks.map(format) }],
    series: [
      { label: 'Time', value: (plot, time) => (time === null ? '–' : timesOf(plot)(time)) },
      ...lines.map((line) => ({
        label: line.label,
        stroke: colour(line.colour),
        width: 1.5,
        points: { show: false },
        value: (_plot, value) => (value === undefined || value === null ? '–' : format(value)),
      })),
    ],
  };
}

const DAY = 24 * 3600;

// Returns what says times as short as the part of the axis that is shown allows.
function timesOf(plot) {
  const shown = plot.scales.x.max - plot.scales.x.min;
  const parts = { hour: '2-digit', minute: '2-digit' };
  if (shown < 900) parts.second = '2-digit';
  if (shown > DAY) Object.assign(parts, { day: 'numeric', month: 'short' });
  return (time) => new Date(time * 1000).toLocaleString('en-GB', parts);
}
