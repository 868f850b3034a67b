// The papers' tables beside ours, as another command rendered them.

function Tables() {
  const tables = DATA.tables;
  if (!tables.length) return html`<section class="page"><h1>Tables</h1><p class="empty">No table was shown from this store. <code>splitpriv table run NAME</code> makes one and <code>splitpriv table show NAME</code> leaves it here; <code>splitpriv table list</code> names them.</p></section>`;
  const chosen = tables.find((t) => t.name === choice.view.table) || tables[0];
  const numeric = (i) => chosen.rows.some((row) => /^[-−+]?[\d.]/.test(String(row[i] ?? ""))) && i > 0;
  return html`<section class="page"><div class="row wrap" role="group" aria-label="tables">${tables.map((t) => html`<button key=${t.name} class=${t === chosen ? "on" : ""} aria-pressed=${t === chosen} onClick=${() => remember("table", t.name)}>${t.name}</button>`)}</div>
    <h1>${chosen.title}</h1><div class="scroll tall"><table class="data paper"><thead><tr>${chosen.columns.map((c, i) => html`<th key=${i} class=${`${numeric(i) ? "n" : ""} ${c.length > 12 ? "long" : ""}`}>${c}</th>`)}</tr></thead>
    <tbody>${chosen.rows.map((row, k) => html`<tr key=${k}>${row.map((cell, i) => (i ? html`<td key=${i} class=${numeric(i) ? "n" : "wraps"}>${show(cell)}</td>` : html`<th key=${i} scope="row">${show(cell)}</th>`))}</tr>`)}</tbody></table></div>
    ${chosen.notes.length ? html`<ul class="notes small">${chosen.notes.map((note, i) => html`<li key=${i}>${note}</li>`)}</ul>` : ""}</section>`;
}
