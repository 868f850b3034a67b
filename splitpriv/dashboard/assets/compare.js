// Two to six runs side by side: what differs in their configs, their numbers, the same victims, learning curves.

function compared() {
  if (choice.tray.length) return choice.tray.map((key) => BY_KEY.get(key)).filter(Boolean);
  return choice.brushed.length <= MAX_COMPARED ? choice.brushed.map((key) => BY_KEY.get(key)).filter(Boolean) : [];
}

/** A name for each that tells them apart: the chain, then whatever differs, the key as a last resort. */
function tellApart(runs) {
  const names = runs.map((run) => String(run.row.chain));
  for (const key of ["dataset", "backbone", "cut", "seed", ...configDifferences(runs), "key"]) {
    if (unique(names).length === runs.length) break;
    const clash = names.map((n, i) => names.indexOf(n) !== i || names.lastIndexOf(n) !== i);
    if (unique(runs.filter((_, i) => clash[i]).map((run) => run.row[key])).length < 2) continue;
    runs.forEach((run, i) => { if (clash[i] && run.row[key] !== undefined) names[i] += ` · ${key.split(".").at(-1)} ${show(run.row[key])}`; });
  }
  return names;
}

const isConfig = (key, value) => key !== "verdict" && key !== "note" && ((key.includes(".") && !key.includes("/")) || key === "chain" || isGroup(key, value));

/** The config keys whose values are not the same in all runs. */
function configDifferences(runs) {
  const keys = unique(runs.flatMap((run) => Object.keys(run.row).filter((k) => isConfig(k, run.row[k]))));
  const part = (key) => key.endsWith("._target_") && runs.some((run) => !(key in run.row)); // its settings tell as much
  return keys.filter((key) => !part(key) && unique(runs.map((run) => JSON.stringify(run.row[key]))).length > 1);
}

/** The numbers to compare: utility, privacy of every attack, bounds, cost. */
function numbersOf(runs) {
  const keys = unique(runs.flatMap((run) => Object.keys(run.row).filter((k) => isNumber(run.row[k]) && k.includes("/") && !/^(attack|floor|ceiling|version|interval)\//.test(k))));
  const rank = (k) => ["utility", "privacy", "bound"].indexOf(k.split("/")[0]) + (k.startsWith("privacy/suite") ? -0.6 : k.startsWith("privacy/worst") ? -0.5 : 0);
  return keys.sort((a, b) => (rank(a) < 0 ? 9 : rank(a)) - (rank(b) < 0 ? 9 : rank(b)));
}

function Compare() {
  const whole_ = compared();
  if (whole_.length < 2) return html`<${ComparePicker} runs=${whole_} />`;
  const two = isNarrow() && whole_.length > 2; // a telephone has room for two columns
  const told = tellApart(whole_);
  const first = Math.min(Number(choice.view.base) || 0, whole_.length - 1);
  const second = [Number(choice.view.other), 0, 1].find((i) => i !== first && whole_[i]);
  const runs = two ? [whole_[first], whole_[second]] : whole_;
  const names = two ? [told[first], told[second]] : told;
  const base = two ? 0 : first;
  const differ = configDifferences(runs);
  const whole = differ.filter((key) => runs.every((run) => key in run.row));
  const partial = differ.filter((key) => !whole.includes(key));
  const keys = numbersOf(runs);
  const head = (choosing) => html`<thead><tr><th></th>${runs.map((run, i) => html`<th key=${run.key} class="runhead"><${Marker} i=${i} /> <${RunLink} run=${run}>${names[i]}</${RunLink}><br />
    ${choosing ? html`<label class="check small"><input type="radio" name="base" checked=${i === base} onChange=${() => remember("base", String(i))} /> compare with</label>`
      : choice.tray.length ? html`<button class="quiet small" aria-label=${`remove ${names[i]}`} onClick=${() => tray(run.key)}>remove</button>` : ""}</th>`)}</tr></thead>`;
  const settings = (shown) => html`<div class="scroll"><table class="data compare">${head(false)}<tbody>${shown.map((key) => html`<tr key=${key}><th scope="row" class="mono">${key}</th>${runs.map((run) => html`<td key=${run.key} class=${run.row[key] === undefined ? "faint" : ""}>${show(run.row[key])}</td>`)}</tr>`)}</tbody></table></div>`;
  return html`<section class="page"><div class="row between wrap"><h1>${plural(whole_.length, "run")} compared <span class="faint small">${sharedGroups(runs)}</span></h1></div>
    ${two ? html`<div class="row wrap controls">${[["base", "compare with", first], ["other", "beside it", second]].map(([name, label, at]) => html`<${Choice} key=${name} name=${name} label=${label} value=${String(at)} options=${told.map((text, i) => [String(i), text])} />`)}</div>` : ""}
    <h2>What differs in the config <span class="faint small">${differ.length ? `${plural(differ.length, "setting")}; all others are equal` : "nothing: these are the same settings"}</span></h2>
    ${settings(partial.length > 8 ? whole : differ)}
    ${partial.length > 8 ? html`<details><summary>${plural(partial.length, "setting")} of defences, attacks and other parts that not all of these have</summary>${settings(partial)}</details>` : ""}
    <h2>Numbers <span class="faint small">small print: difference from “${names[base]}”; ▲ better, ▼ worse for whoever runs the device</span></h2>
    ${unlike(runs) ? html`<p>${unlike(runs)}</p>` : ""}
    <div class="scroll"><table class="data compare">${head(true)}<tbody>${keys.map((key, i) => {
      const group = key.split("/").slice(0, key.startsWith("privacy") ? 2 : 1).join("/");
      const last = i ? keys[i - 1].split("/").slice(0, keys[i - 1].startsWith("privacy") ? 2 : 1).join("/") : "";
      return html`<tr key=${key} class=${group === last ? "" : "ruled"}><th scope="row" title=${key}>${labelOf(key)}</th>${runs.map((run, j) => html`<td key=${run.key} class="n"><${Number_} run=${run} other=${runs[base]} keyName=${key} self=${j === base} /></td>`)}</tr>`;
    })}<tr class="ruled"><th scope="row">flags</th>${runs.map((run) => html`<td key=${run.key} class="wraps"><ul class="flags small">${flagLines(run).map((f) => html`<li>${f}</li>`)}</ul></td>`)}</tr></tbody></table></div>
    <p class="faint small">Single runs carry no interval: a difference between two of them may be one between seeds. <code>splitpriv table</code> and <code>splitpriv curve</code> give intervals over seeds.</p>
    <${SameVictims} runs=${runs} names=${names} /><${CompareCurves} runs=${runs} names=${names} /></section>`;
}

function Number_({ run, other, keyName, self }) {
  const value = run.row[keyName];
  const base = other.row[keyName];
  if (!isNumber(value)) return html`<span class="faint">${show(value)}</span>`;
  if (self || !isNumber(base)) return show(value, keyName);
  const side = gain(value, base, keyName);
  return html`${show(value, keyName)}<br /><span class=${`delta small ${side > 0 ? "good" : side < 0 ? "bad" : ""}`}>${side > 0 ? "▲ " : side < 0 ? "▼ " : ""}${difference(value, base, keyName)}</span>`;
}

function ComparePicker({ runs }) {
  const some = pool();
  const suite = some.some((run) => run.row.suite);
  const shown = ["utility/accuracy", ...(suite ? ["suite", "privacy/suite/mse"] : []), "privacy/worst/mse"];
  return html`<section class="page"><h1>Compare</h1><p>${runs.length ? `“${runs[0].row.chain}” waits for a second run. ` : ""}Tick two to six runs here, in the run list or on the overview${choice.brushed.length > MAX_COMPARED ? `; ${choice.brushed.length} are brushed, which is too many to lay side by side` : ""}.</p>
    <div class="scroll tall"><table class="data"><thead><tr><th></th><th>chain</th><th>data set</th><th>backbone</th><th>seed</th>${shown.map((k) => html`<th class="n" key=${k}>${labelOf(k)}</th>`)}<th>key</th></tr></thead><tbody>
    ${some.map((run) => html`<tr key=${run.key}><td><${TrayBox} run=${run} /></td><td><${RunLink} run=${run} /></td><td>${run.row.dataset}</td><td>${run.row.backbone}</td><td>${run.row.seed}</td>${shown.map((k) => html`<td class="n" key=${k}>${show(run.row[k], k)}</td>`)}<td class="mono">${run.key}</td></tr>`)}
    </tbody></table></div></section>`;
}

/** Reconstructions under one another, each column one victim. Runs that show other victims are said to. */
function SameVictims({ runs, names }) {
  const attacks = unique(runs.flatMap((run) => run.attacks.filter((a) => fixedOf(run, a))));
  if (!attacks.length) return html`<h2>Reconstructions</h2><p class="faint">No run of these has pictures in the store.</p>`;
  return html`<h2>The same victims <span class="faint small">numbers are MSE per image: ↑ higher is more private</span></h2>${attacks.map((attack) => {
    const having = runs.filter((run) => fixedOf(run, attack));
    const first = fixedOf(having[0], attack);
    const common = first.who.filter((w) => having.every((run) => fixedOf(run, attack).who.includes(w)));
    const same = common.length > 0;
    const order = (run) => (same ? common.map((w) => fixedOf(run, attack).who.indexOf(w)) : all(fixedOf(run, attack).who.length));
    return html`<div key=${attack} class="victims"><h3>${attack}</h3>${same ? "" : html`<p class="small warn">These runs show different victims, because their seeds or data differ; each has its own row of originals.</p>`}
      <div class="scroll"><table class="bare"><tbody>${same ? html`<tr><th scope="row">victims</th><td><${Tiles} strip=${first.x} count=${first.who.length} order=${order(having[0])} size=${first.size} label="victim" /></td></tr>` : ""}
      ${runs.map((run, i) => {
        const found = fixedOf(run, attack);
        return html`${found && !same ? html`<tr><th scope="row" class="faint">its victims</th><td><${Tiles} strip=${found.x} count=${found.who.length} order=${order(run)} size=${found.size} label="victim" /></td></tr>` : ""}
        <tr key=${run.key}><th scope="row"><${Marker} i=${i} /> ${names[i]}</th><td>${found ? html`<${Tiles} strip=${found.images} count=${found.who.length} order=${order(run)} size=${found.size} label=${`reconstruction under ${names[i]}`} captions=${found.mse.map((v) => show(v, "privacy/x/mse"))} />` : html`<span class="faint">not attacked by ${attack}, or no pictures in the store</span>`}</td></tr>`;
      })}</tbody></table></div></div>`;
  })}`;
}

function CompareCurves({ runs, names }) {
  const training = unique(runs.flatMap((run) => Object.keys(run.trajectory.curves)));
  const attacks = unique(runs.flatMap((run) => Object.keys(run.curves)));
  const order = ["task", "accuracy/val", "accuracy/train"];
  training.sort((a, b) => ((order.indexOf(a) + 1) || 9) - ((order.indexOf(b) + 1) || 9));
  const lines = (of) => runs.map((run, i) => ({ name: names[i], i, at: of(run)?.at || [], y: of(run)?.y || [], of: of(run)?.of }));
  const dataset = unique(runs.map((run) => run.row.dataset));
  const per = (attack, metric) => runs.map((run, i) => ({ name: names[i], i, found: run.shown[attack]?.scores[metric] })).filter((s) => s.found);
  const first = (attack) => runs.map((run) => Object.keys(run.shown[attack]?.scores || {})[0]).find(Boolean);
  const scored = unique(runs.flatMap((run) => Object.keys(run.shown))).filter((attack) => !attack.startsWith("clean/") && first(attack)); // clean x is the same for all chains
  return html`${dataset.length === 1 && scored.length ? html`<h2>Scores per victim</h2><div class="charts">${scored.map((attack) => html`<div key=${attack}><p class="over">${attack}</p><${Histogram} metric=${first(attack)} dataset=${dataset[0]} series=${per(attack, first(attack))} /></div>`)}</div>` : ""}
    ${training.length ? html`<h2>Training</h2><div class="charts">${training.map((key) => html`<${Lines} key=${key} title=${key} lines=${lines((run) => run.trajectory.curves[key])} />`)}</div>` : ""}
    ${attacks.length ? html`<h2>Attacks while they learn</h2><div class="charts">${attacks.map((key) => html`<${Lines} key=${key} title=${key.slice(7)} x="step" lines=${lines((run) => run.curves[key])} />`)}</div>` : ""}`;
}
