// Plotly in the page's colours, redrawn when they change, and keyed lines and markers for whoever sees no colour.

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const isDark = () => document.documentElement.dataset.theme === "dark";

/** Colour, marker and dash number i; the marker moves on when the colours begin again. */
function styleOf(i) {
  const colour = PALETTE[i % 8];
  return {
    colour: colour === "#000000" && isDark() ? "#e8e8e8" : colour,
    symbol: SYMBOLS[(i + Math.floor(i / 8)) % 8],
    dash: ["solid", "dash", "dot", "dashdot"][i % 4],
  };
}

function layoutOf(own) {
  const axis = { gridcolor: css("--grid"), zerolinecolor: css("--grid"), linecolor: css("--line"), ticks: "outside", tickcolor: css("--line"), automargin: true };
  const { xaxis, yaxis, ...rest } = own;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 10, r: 16, t: 14, b: 10 },
    font: { family: css("--font"), size: 12.5, color: css("--ink") }, hoverlabel: { font: { family: css("--font"), size: 12 }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--faint"), activecolor: css("--accent") },
    showlegend: false, xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest,
  };
}

const CONFIG = {
  displaylogo: false, responsive: true,
  modeBarButtonsToRemove: ["autoScale2d", "toggleSpikelines", "hoverClosestCartesian", "hoverCompareCartesian"],
  toImageButtonOptions: { format: "svg", filename: "splitpriv" },
};

/** A chart. `on` maps Plotly's events to functions; `label` says in words what the chart shows;
 * one with a `stamp` is drawn again only when that changes. */
function Plot({ traces, layout, height, on = {}, label, bar = "hover", stamp }) {
  const node = useRef(null);
  const handlers = useRef(on);
  handlers.current = on;
  useEffect(() => {
    const draw = Plotly.react(node.current, traces, layoutOf({ ...layout, height }), { ...CONFIG, displayModeBar: bar });
    if (!node.current.dataset.bound) {
      node.current.dataset.bound = "yes";
      draw.then(() => {
        for (const event of ["hover", "click", "selected", "deselect"]) node.current?.on?.(`plotly_${event}`, (e) => handlers.current[event]?.(e));
      });
    }
  }, stamp === undefined ? undefined : [stamp]);
  useEffect(() => () => Plotly.purge(node.current), []);
  return html`<div class="plot" role="img" aria-label=${label} style=${`min-height:${height}px`} ref=${node}></div>`;
}

/** The marker of a style, as Plotly draws it, for legends. */
function Marker({ i, line = false }) {
  const { colour, symbol, dash } = styleOf(i);
  const shapes = {
    circle: html`<circle cx="7" cy="7" r="5" />`, square: html`<rect x="2.5" y="2.5" width="9" height="9" />`,
    diamond: html`<path d="M7 1 13 7 7 13 1 7Z" />`, "triangle-up": html`<path d="M7 1.5 13 12H1Z" />`,
    x: html`<path d="m3.5 1 3.5 3.5L10.5 1 13 3.5 9.5 7 13 10.5 10.5 13 7 9.5 3.5 13 1 10.5 4.5 7 1 3.5Z" />`,
    cross: html`<path d="M5 1h4v4h4v4H9v4H5V9H1V5h4Z" />`,
    star: html`<path d="m7 .6 1.8 4.3 4.7.4-3.5 3 1 4.6L7 10.5l-4 2.4 1-4.6-3.5-3 4.7-.4Z" />`,
    "triangle-down": html`<path d="M1 2h12L7 12.5Z" />`,
  };
  const dashes = { solid: "", dash: "6 3", dot: "2 3", dashdot: "6 3 2 3" };
  return line
    ? html`<svg class="mark" width="26" height="14" aria-hidden="true"><line x1="1" x2="25" y1="7" y2="7" stroke=${colour} stroke-width="2.5" stroke-dasharray=${dashes[dash]} /></svg>`
    : html`<svg class="mark" width="14" height="14" aria-hidden="true" fill=${colour} stroke="currentColor" stroke-width=".6">${shapes[symbol]}</svg>`;
}
