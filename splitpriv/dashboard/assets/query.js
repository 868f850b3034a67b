// Which runs are shown: filters by config group, a search box, and the brush of the plot.

/** Every group by which runs can be told apart, with the values that occur and how often. */
function facets(runs) {
  const groups = unique(runs.flatMap((run) => Object.keys(run.row).filter((k) => isGroup(k, run.row[k]))));
  const order = ["verdict", "dataset", "backbone", "cut", "split", "optim", "protocol", "setting", "monitor", "precision", "seed", "attack_seed"];
  groups.sort((a, b) => ((order.indexOf(a) + 1) || 99) - ((order.indexOf(b) + 1) || 99));
  return [["defense", (run) => run.defenses], ["chain", (run) => [String(run.row.chain)]], ["attack", (run) => run.attacks], ["tag", (run) => run.row.tags || []],
    ...groups.map((g) => [g, (run) => [g in run.row ? String(run.row[g]) : "–"]])].map(([name, values]) => ({ name, values }));
}

const FACET_LABEL = { defense: "defence in the chain", chain: "whole chain", attack: "attack that was run" };

function passes(run, filters, terms, all) {
  return all.every((f) => !filters[f.name]?.length || f.values(run).some((v) => filters[f.name].includes(v))) && terms.every((t) => t(run));
}

/** `cem dataset=mnist accuracy>0.7 -flags:converged`: words, and comparisons of any entry by the end of its name. */
function termsOf(text) {
  const parts = text.match(/-?[^\s"]*"[^"]*"|\S+/g) || [];
  return parts.map((part) => {
    const negative = part.startsWith("-") && part.length > 1;
    const bare = negative ? part.slice(1) : part;
    const found = bare.match(/^([\w./*]+)(>=|<=|!=|=|>|<|:)(.+)$/);
    const test = found ? comparison(found[1], found[2], found[3].replace(/^"|"$/g, "")) : wordTest(bare.replace(/"/g, "").toLowerCase());
    return negative ? (run) => !test(run) : test;
  });
}

const wordTest = (word) => (run) => run.words.includes(word);

function comparison(name, sign, wanted) {
  const number = Number(wanted.replace(/%$/, "")) / (wanted.endsWith("%") ? 100 : 1);
  const test = (value) => {
    if (sign === ":") return String(value).toLowerCase().includes(wanted.toLowerCase());
    if (sign === "=") return String(value) === wanted || value === number;
    if (sign === "!=") return !(String(value) === wanted || value === number);
    if (!isNumber(value)) return false;
    return sign === ">" ? value > number : sign === "<" ? value < number : sign === ">=" ? value >= number : value <= number;
  };
  return (run) => {
    const value = name === "flags" ? (sign === ":" ? flagLines(run).join("; ") : run.flags.length) : entry(run, name);
    if (value !== undefined) return test(value);
    const keys = Object.keys(run.row).filter((k) => k.endsWith(`.${name}`) || k.endsWith(`/${name}`));
    return sign === "!=" ? keys.length > 0 && keys.every((k) => test(run.row[k])) : keys.some((k) => test(run.row[k]));
  };
}

/** The runs that pass the filters and the search. */
function filtered(c = choice) {
  const all = facets(DATA.runs);
  const terms = termsOf(c.q);
  return DATA.runs.filter((run) => passes(run, c.filters, terms, all));
}

/** Of these, the brushed ones, where any are. */
function pool(c = choice) {
  const runs = filtered(c);
  const brushed = new Set(c.brushed);
  return brushed.size ? runs.filter((run) => brushed.has(run.key)) : runs;
}

function Search() {
  const [text, setText] = useState(choice.q);
  useEffect(() => setText(choice.q), [choice.q]);
  const help = "Words, or comparisons such as accuracy>0.7, sigma<=0.05, dataset=mnist, flags=0; a minus sign excludes";
  return html`<label class="search"><span class="sr">Search runs</span>
    <input id="search" type="search" placeholder="cem accuracy>70%" title=${help} value=${text}
      onInput=${(e) => { setText(e.target.value); choose({ q: e.target.value }); }} /></label>`;
}

function Filters() {
  const all = facets(DATA.runs);
  const terms = termsOf(choice.q);
  const used = Object.values(choice.filters).flat().length;
  const shown = all.map((facet) => {
    const others = { ...choice.filters, [facet.name]: [] };
    const counts = new Map();
    for (const run of DATA.runs) for (const v of unique(facet.values(run))) counts.set(v, counts.get(v) || 0);
    for (const run of DATA.runs) if (passes(run, others, terms, all)) for (const v of unique(facet.values(run))) counts.set(v, counts.get(v) + 1);
    return { ...facet, counts: [...counts].sort((a, b) => byText(a[0], b[0])) };
  });
  const told = shown.filter((f) => f.counts.length > 1 || (f.name === "tag" && f.counts.length));
  const fixed = shown.filter((f) => f.counts.length === 1 && !["defense", "chain", "attack", "tag"].includes(f.name));
  const set = (name, value) => choose({ filters: { ...choice.filters, [name]: toggle(choice.filters[name] || [], value) } });
  const [unfolded, unfold] = useState(!isNarrow());
  return html`<aside class="filters" aria-label="Filters"><details class="fold" open=${unfolded} onToggle=${(e) => e.target.open !== unfolded && unfold(e.target.open)}>
    <summary class="row between"><h2>Filters${used || choice.q ? html` <b class="dot" aria-label="in use">●</b>` : ""}</h2>
      <button class="quiet" disabled=${!used && !choice.q} onClick=${(e) => { e.preventDefault(); choose({ filters: {}, q: "" }); }}>clear${used ? ` (${used})` : ""}</button></summary>
    <${Search} />
    ${told.map((f) => html`<details key=${f.name} open=${f.counts.length <= 12 || Boolean(choice.filters[f.name]?.length)}>
      <summary>${FACET_LABEL[f.name] || f.name}${choice.filters[f.name]?.length ? html` <b class="dot" aria-label="filtered">●</b>` : ""}</summary>
      <ul>${f.counts.map(([value, n]) => html`<li key=${value}><label class=${n ? "" : "faint"}>
        <input type="checkbox" data-facet=${f.name} value=${value} checked=${(choice.filters[f.name] || []).includes(value)} onChange=${() => set(f.name, value)} />
        <span class="clip" title=${value}>${value}</span><span class="count">${n}</span></label></li>`)}</ul></details>`)}
    ${fixed.length ? html`<details><summary>the same in all runs</summary><dl class="pairs small">
      ${fixed.map((f) => html`<dt>${f.name}</dt><dd>${f.counts[0][0]}</dd>`)}</dl></details>` : ""}
  </details></aside>`;
}
