// One run: its numbers between floor and ceiling, its flags explained, pictures, histograms, curves, every entry.

function RunPage() {
  const run = BY_KEY.get(choice.key) || DATA.runs.find((r) => choice.key && r.key.startsWith(choice.key));
  const runs = pool();
  if (!run) return html`<section class="page"><h1>${choice.key ? "No such run" : "One run"}</h1><p>${choice.key ? html`No run here has the key <code>${choice.key}</code>.` : "Choose a run."}</p>
    <ul class="choices">${runs.slice(0, 60).map((r) => html`<li key=${r.key}><${RunLink} run=${r}>${nameOf(r)}</${RunLink}> <span class="faint small">${r.row.dataset} · ${r.row.backbone} · ${r.key}</span></li>`)}</ul></section>`;
  const at = runs.indexOf(run);
  const near = (d) => (at >= 0 ? runs[at + d] : undefined);
  const twin = run.row.ceiling !== run.key ? BY_KEY.get(run.row.ceiling) : null;
  const row = run.row;
  const headline = `utility/${row.headline || "accuracy"}`;
  return html`<section class="page" key=${run.key}>
    <div class="row between wrap"><h1><span class=${`verdict ${row.verdict}`}>${row.verdict}</span> ${row.chain} <span class="faint">${row.way ? `${row.way}, ` : ""}seed ${row.seed}${row.attack_seed ? `, attack seed ${row.attack_seed}` : ""}</span></h1>
      <span class="row"><button disabled=${!near(-1)} onClick=${() => go("run", near(-1).key)} title="previous run (k)">← previous</button><button disabled=${!near(1)} onClick=${() => go("run", near(1).key)} title="next run (j)">next →</button>
        <button onClick=${() => tray(run.key)}>${choice.tray.includes(run.key) ? "Take out of comparison" : "Compare"}</button></span></div>
    <p class="faint">${whereOf(row)} · ${row.suite ? `suite ${row.suite} · ` : ""}${plural(row.victims ?? 0, "victim")} attacked · finished ${when(run.finished) || "at an unknown time"} · key <code>${run.key}</code></p>
    ${row.note || row.tags ? html`<p class="note">${(row.tags || []).map((word) => html`<span key=${word} class="word">${word}</span> `)}${row.note || ""}</p>` : ""}
    <dl class="stats">${[headline, "privacy/suite/mse", "privacy/worst/mse", "cost/edge_parameters", "cost/edge_macs", "cost/release_bytes", "cost/edge_latency_ms"].filter((k) => isNumber(row[k])).map((k) => html`<div key=${k}><dt>${labelOf(k)}</dt><dd>${show(row[k], k)}</dd></div>`)}</dl>
    <div class="halves"><div><${Numbers} run=${run} twin=${twin} /><${Flags} run=${run} /></div><div><${Pictures} run=${run} /></div></div><${Scores} run=${run} /><${RunCurves} run=${run} /><${Everything} run=${run} /></section>`;
}

function Flags({ run }) {
  if (!run.flags.length) return html`<p class="good">No flag: nothing in this run asks for a second look.</p>`;
  return html`<h2>${plural(run.flags.length, "flag")} <span class="faint small">${run.row.verdict === "void" ? "this run says nothing: see why" : "reasons to look again"}</span></h2>
    <dl class="explained">${run.flags.map((flag, i) => html`<dt key=${i}>⚑ ${flag.text}</dt><dd>${DATA.facts.flags[flag.kind] || DATA.facts.flags.old}${flag.remedy ? html` To clear this: <code>${flag.remedy}</code>` : ` No override clears this: ${DATA.facts.otherwise[flag.kind] || DATA.facts.otherwise.old}.`}</dd>`)}</dl>`;
}

/** Attacks by metrics, for image attacks with floor and ceiling; attacks on attributes and identities below. */
function Numbers({ run, twin }) {
  const row = run.row;
  const metrics = (who) => Object.keys(row).filter((k) => k.startsWith(`privacy/${who}/`)).map((k) => k.split("/")[2]);
  const images = run.attacks.filter((a) => metrics(a).includes("mse"));
  const others = run.attacks.filter((a) => !images.includes(a) && metrics(a).length);
  const columns = unique(images.flatMap(metrics));
  const several = images.length > 1 || Boolean(row.suite); // a suite has members
  const lines = [...(row.suite ? [[`${row.suite}, its answer`, "privacy/suite", "strong"]] : []), ...images.map((a) => [a, `privacy/${a}`, ""]),
    ...(several ? [["worst case per image (an oracle)", "privacy/worst", row.suite ? "" : "strong"]] : []),
    ...[...(row.suite ? ["suite"] : []), ...images, ...(several ? ["worst"] : [])].map((a) => [`${whoLabel(a)}, undefended`, `ceiling/${a}`, "faint"]),
    ["floor: mean image", "floor/mean_image", "faint"], ["floor: random image", "floor/random_image", "faint"]].filter(([, prefix]) => columns.some((m) => `${prefix}/${m}` in row));
  return html`${images.length ? html`<h2>Reconstruction ${twin ? html`<span class="faint small">undefended: <${RunLink} run=${twin}>${nameOf(twin)}</${RunLink}></span>` : run.row.ceiling === run.key ? html`<span class="faint small">this run is the undefended one</span>` : html`<span class="faint small">the undefended run is not here</span>`}</h2>
    <div class="scroll"><table class="data"><thead><tr><th>by</th>${columns.map((m) => html`<th class="n" key=${m}>${labelOf(`privacy/x/${m}`).split(" · ")[0]}</th>`)}</tr></thead>
    <tbody>${lines.map(([label, prefix, style]) => html`<tr key=${prefix} class=${style}><th scope="row">${label}</th>${columns.map((m) => html`<td class="n" key=${m}>${show(row[`${prefix}/${m}`], `privacy/x/${m}`)}</td>`)}</tr>`)}</tbody></table></div>` : ""}
    ${others.map((a) => html`<${Inference} key=${a} row=${row} attack=${a} metrics=${metrics(a)} />`)}`;
}

/** What an attack on an attribute or an identity found, beside the same on no defence and on clean x. */
function Inference({ row, attack, metrics }) {
  const kept = [["the release", `privacy/${attack}`], ["undefended", `ceiling/${attack}`], ["clean x", `clean/${attack}`], ["commonest value", "floor/prior"]].filter(([, p]) => metrics.some((m) => `${p}/${m}` in row));
  const target = row[`attack.${attack}.attribute`];
  return html`<h2>${attack} <span class="faint small">${target ? `infers ${target}` : ""}</span></h2><div class="scroll"><table class="data"><thead><tr><th>from</th>${kept.map(([label]) => html`<th class="n" key=${label}>${label}</th>`)}</tr></thead>
    <tbody>${metrics.map((m) => html`<tr key=${m}><th scope="row">${labelOf(`privacy/x/${m}`).split(" · ")[0]}</th>${kept.map(([, p]) => html`<td class=${`n ${p.startsWith("privacy") ? "" : "faint"}`} key=${p}>${show(row[`${p}/${m}`], `privacy/x/${m}`)}</td>`)}</tr>`)}</tbody></table></div>`;
}

const EXTREME = { best: "most exposed", median: "median", worst: "least exposed" };

function Pictures({ run }) {
  const names = run.attacks.filter((a) => fixedOf(run, a));
  if (run.row.study) return "";
  if (!Object.keys(run.shown).length) return html`<h2>Pictures</h2><p class="faint">The store of this page does not hold this run's pictures and scores; only its row is here.</p>`;
  if (!names.length) return html`<h2>Pictures</h2><p class="faint">No attack of this run rebuilds images.</p>`;
  return html`<h2>What the attacker saw <span class="faint small">originals above reconstructions; numbers are MSE per image</span></h2>
    ${names.map((attack) => {
      const { fixed, extremes } = run.shown[attack];
      const pair = (found, label, order, captions, scale = 64) => html`<div class="pair"><p class="over">${label}</p>
        <${Tiles} strip=${found.x} count=${captions.length} order=${order} size=${found.size} label="victim" scale=${scale} />
        <${Tiles} strip=${found.images} count=${captions.length} order=${order} size=${found.size} label=${`reconstruction by ${attack}`} captions=${captions} scale=${scale} /></div>`;
      const mse = (v) => show(v, "privacy/x/mse");
      return html`<div key=${attack} class="victims"><h3>${attack}</h3>${pair(fixed, "fixed victims, chosen by the seed alone", all(fixed.mse.length), fixed.mse.map(mse))}
        ${extremes?.x ? html`<div class="row wrap extremes">${Object.keys(EXTREME).map((word) => {
          const first = Object.keys(extremes.scores)[0];
          return pair(extremes, EXTREME[word], placesOf(extremes, word), extremes.victims.map((v, i) => html`#${v}<br />${show(extremes.scores[first][i], `privacy/x/${first}`)}`), 52);
        })}</div>` : ""}</div>`;
    })}`;
}

const placesOf = (extremes, word) => all(extremes.words.length).filter((i) => extremes.words[i] === word);

/** Histograms of every score over the victims, and by number the extremes of attacks that have no pictures. */
function Scores({ run }) {
  const names = unique([...run.attacks, ...Object.keys(run.shown)]).filter((a) => run.shown[a]);
  if (!names.length) return "";
  const numbered = names.filter((a) => run.shown[a].extremes && !run.shown[a].extremes.x);
  return html`<h2>Scores per victim <span class="faint small">of all ${run.row.victims ?? ""} victims</span></h2>
    ${numbered.map((a) => {
      const { extremes } = run.shown[a];
      const [metric, values] = Object.entries(extremes.scores)[0];
      return html`<p key=${a} class="small"><b>${whoLabel(a)}</b>, ${labelOf(`privacy/x/${metric}`).split(" · ")[0]}: ${Object.keys(EXTREME).map((word, k) => html`${k ? "; " : ""}<span class="faint">${EXTREME[word]}</span> ${placesOf(extremes, word).map((i) => `#${extremes.victims[i]} ${show(values[i], `privacy/x/${metric}`)}`).join(", ")}`)}</p>`;
    })}
    <div class="charts">${unique(names.flatMap((a) => Object.keys(run.shown[a].scores))).map((metric) => html`<${Histogram} key=${metric} metric=${metric} dataset=${run.row.dataset}
      series=${names.map((a, i) => ({ name: whoLabel(a), i, found: run.shown[a].scores[metric] })).filter((s) => s.found)} marks=${[{ value: run.row[`floor/mean_image/${metric}`], label: "mean image" }]} />`)}</div>`;
}

/** Training curves in three charts: the loss and its penalties, accuracy, the rest; then each attack's own. */
function RunCurves({ run }) {
  const { curves, phases } = run.trajectory;
  const keys = Object.keys(curves);
  const parts = [["loss and penalties", keys.filter((k) => k === "task" || k.startsWith("penalty/"))], ["accuracy", keys.filter((k) => k.startsWith("accuracy"))]];
  parts.push(...keys.filter((k) => !parts.some(([, own]) => own.includes(k))).map((k) => [k, [k]]));
  const line = (key, i, found) => ({ name: key, i, at: found.at, y: found.y, of: found.of });
  const attacks = run.attacks.map((a) => [a, Object.keys(run.curves).filter((k) => k.startsWith(`attack/${a}/`))]).filter(([, own]) => own.length);
  return html`${keys.length ? html`<h2>Training</h2><div class="charts">${parts.filter(([, own]) => own.length).map(([title, own]) => html`<${Lines} key=${title} title=${title} phases=${phases} lines=${own.map((k, i) => line(k, i, curves[k]))} />`)}</div>` : ""}
    ${attacks.length ? html`<h2>Attacks while they learn</h2><div class="charts">${attacks.flatMap(([a, own]) => {
      const epochs = own.filter((k) => /\/(train|held)$/.test(k));
      return [...(epochs.length ? [[`${a}: loss`, epochs, "epoch"]] : []), ...own.filter((k) => !epochs.includes(k)).map((k) => [`${a}: ${k.split("/").slice(2).join("/")}`, [k], "point"])];
    }).map(([title, own, x]) => html`<${Lines} key=${title} title=${title} x=${x} lines=${own.map((k, i) => line(k.split("/").slice(2).join("/"), i, run.curves[k]))} />`)}</div>` : ""}`;
}

/** The whole row, group by group. */
function Everything({ run }) {
  const groups = new Map();
  for (const [key, value] of Object.entries(run.row)) {
    const head = key.includes("/") ? key.split("/")[0] : key.includes(".") ? key.split(".")[0] : "run";
    const name = key.includes("/") ? `${head}/` : head;
    groups.set(name, [...(groups.get(name) || []), [key, value]]);
  }
  const nulls = Object.fromEntries(Object.entries(run.odd).filter(([, word]) => typeof word === "string").map(([key]) => [key, null]));
  const json = () => JSON.stringify(Object.keys(run.odd).length ? { ...run.row, ...nulls, not_finite: run.odd } : run.row, null, 1);
  return html`<h2>Everything in its row</h2><p class="row"><button onClick=${() => download(`${run.key}.json`, json(), "application/json")}>Download JSON</button>
    <button onClick=${() => navigator.clipboard?.writeText(json()).then(() => announce("Copied."), () => announce("The browser does not allow copying here."))}>Copy JSON</button><span class="faint small">without its curves, which are drawn above</span></p>
    <div class="everything">${[...groups].map(([name, entries]) => html`<details key=${name} open=${["run", "defense"].includes(name)}><summary>${name} <span class="faint small">${entries.length}</span></summary>
      <dl class="pairs mono">${entries.map(([key, value]) => html`<dt key=${key}>${key}</dt><dd>${key === "flags" ? flagLines(run).join("; ") : typeof value === "number" ? String(value) : show(value)}</dd>`)}</dl></details>`)}</div>`;
}
