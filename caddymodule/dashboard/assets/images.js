// What is cached: registry, repository, tag.

import { h, bar, badge, card, empty, bytes, number, plural, when, roughly, percent } from './dom.js';
import { store, endpointURL, loader, get, post, changed, toast, copy } from './store.js';

const listing = loader('images');
listing.keep = true;

let typed = '', sort = 'name', open = '', seen = '', waiting;

const go = params => { location.hash = '#/images?' + new URLSearchParams(Object.entries(params).filter(([, value]) => value)) };

export function view(state, params) {
	// What the store has now tells whether the listing may have changed.
	const stamp = state.storage.map(c => `${c.blobs} ${c.pins}`).join();
	const old = stamp !== seen && Date.now() - listing.at > 5000 || listing.data && listing.data.sizing && Date.now() - listing.at > 700;
	if (old) seen = stamp;
	listing.load({ in: params.in || '', q: params.q || '', page: params.page || '', sort }, old);
	if (listing.data && listing.data.sizing) setTimeout(changed, 800);
	return h('section', { class: 'card stack', 'aria-label': 'Cached images' }, controls(params), h('div', { class: 'row spread' }, crumbs(params), count()), content(params), pager(params));
}

function controls(params) {
	if (document.activeElement && document.activeElement.id !== 'search') typed = params.q || '';
	return h('div', { class: 'row spread' },
		h('div', { role: 'search' }, h('label', { class: 'unseen', for: 'search' }, 'Search'), h('input', {
			id: 'search', type: 'search', placeholder: 'Search all images', value: typed, autocomplete: 'off', spellcheck: 'false',
			oninput: event => {
				typed = event.target.value;
				clearTimeout(waiting);
				waiting = setTimeout(() => go({ q: typed.trim() }), 200);
			},
		})),
		h('label', { class: 'row small dim' }, 'Sort by', h('select', { value: sort, onchange: event => { sort = event.target.value; changed() } },
			[['name', 'name'], ['size', 'size'], ['checked', 'last checked'], ['used', 'last used']].map(([value, text]) => h('option', { value }, text)))));
}

function crumbs(params) {
	if (params.q) return h('p', { class: 'dim' }, 'Images with ', h('strong', {}, params.q), ' in their names');
	const [upstream, ...rest] = (params.in || '').split('/');
	const trail = [['All registries', '']];
	if (upstream) trail.push([upstream, upstream]);
	if (rest.length) trail.push([rest.join('/'), params.in]);
	return h('nav', { 'aria-label': 'Place' }, h('ol', { class: 'crumbs' }, trail.map(([name, at], i) => h('li', { class: 'wrap' },
		i < trail.length - 1 ? h('a', { href: at ? `#/images?in=${encodeURIComponent(at)}` : '#/images' }, name) : h('span', { 'aria-current': 'page' }, name)))));
}

function count() {
	const l = listing.data;
	if (!l) return null;
	return h('span', { class: 'small dim' }, l.sizing ? 'Sizes are being looked up … ' : '', plural(l.total, l.entries.some(e => e.digest) || l.in.includes('/') ? 'image' : l.in ? 'repositor' : 'registr').replace(/(repositor|registr)(s?)$/, (_, word, more) => word + (more ? 'ies' : 'y')));
}

function content(params) {
	const l = listing.data;
	if (listing.error) return empty(listing.error);
	if (!l) return empty('Looking …');
	if (!l.entries.length) return empty(params.q ? 'No image has that in its name.' : 'Nothing is cached yet. The first pull brings something here.');
	const most = Math.max(...l.entries.map(e => e.held ? e.held.bytes : 0), 1);
	const leaves = l.entries.some(e => e.digest);
	const heads = leaves ? [['Image'], ['Size', 'num'], ['Own', 'num'], ['Checked'], ['Used'], ['']] : [[params.in ? 'Repository' : 'Registry'], ['Tags', 'num'], ['Size', 'num'], ['Own', 'num'], ['']];
	const held = (e, field) => e.held ? bytes(e.held[field]) : h('span', { class: 'dim' }, '–');
	return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Listing' }, h('table', { class: 'fold' },
		h('caption', { class: 'unseen' }, 'What is cached'),
		h('thead', {}, h('tr', {}, heads.map(([name, of]) => h('th', { scope: 'col', class: of }, name || h('span', { class: 'unseen' }, 'More'))))),
		h('tbody', {}, l.entries.map(e => {
			if (!leaves) {
				return h('tr', {}, h('td', {}, h('a', { class: 'wrap', href: `#/images?in=${encodeURIComponent(e.name)}` }, params.in ? e.name.slice(e.name.indexOf('/') + 1) : e.name),
					!params.in && h('span', { class: 'small dim' }, ` ${number(e.repositories)} repositories`)),
				h('td', { class: 'num', 'data-label': 'Tags' }, number(e.tags)), h('td', { class: 'num', 'data-label': 'Size' }, held(e, 'bytes')), h('td', { class: 'num', 'data-label': 'Own' }, held(e, 'own_bytes')),
				h('td', {}, e.held && bar(`${percent(e.held.bytes / most)} of the largest`, [[e.held.own_bytes / most, 'c1'], [(e.held.bytes - e.held.own_bytes) / most, 'c7']])));
			}
			const expanded = open === e.name;
			const row = h('tr', {}, h('td', {}, h('button', { class: 'plain wrap', 'aria-expanded': String(expanded), onclick: () => { open = expanded ? '' : e.name; changed() } }, short(e, params)),
				e.pins && badge('blue', 'pinned'), e.held && e.held.absent > 0 && badge('warn', 'incomplete')),
			h('td', { class: 'num', 'data-label': 'Size' }, held(e, 'bytes')), h('td', { class: 'num', 'data-label': 'Own' }, held(e, 'own_bytes')),
			h('td', { 'data-label': 'Checked' }, e.checked ? when(e.checked) : '–'), h('td', { 'data-label': 'Used' }, roughly(e.used)),
			h('td', { class: 'num' }, h('button', { onclick: () => copy(pullCommand(e)), 'aria-label': `Copy the pull command of ${e.name}` }, 'Copy')));
			return expanded ? [row, h('tr', {}, h('td', { colspan: 6 }, detail(e)))] : row;
		}))), leaves && h('p', { class: 'small dim' }, 'Own is what no other image has: what its removal would free. Copy puts the pull command on the clipboard.'));
}

const short = (e, params) => params.in && e.tag ? e.tag : params.in ? e.digest.slice(0, 19) + '…' : e.name;

// pullCommand pulls an image through the gateway by its address.
export function pullCommand(e) {
	const [endpoint] = store.state.endpoints;
	return `docker pull ${endpoint ? endpointURL(endpoint).replace(/^\w+:\/\//, '') : location.hostname}/proxy-${e.name}`;
}

function pager(params) {
	const l = listing.data;
	if (!l || l.pages < 2) return null;
	const to = page => () => go({ ...params, page });
	return h('nav', { class: 'row spread', 'aria-label': 'Pages' }, h('button', { disabled: l.page === 0, onclick: to(l.page - 1) }, 'Previous'),
		h('span', { class: 'small dim' }, `Page ${number(l.page + 1)} of ${number(l.pages)}`), h('button', { disabled: l.page >= l.pages - 1, onclick: to(l.page + 1) }, 'Next'));
}

const details = new Map();

// detail tells more of one image: its platforms, and what can be done with it.
function detail(e) {
	if (!details.has(e.name)) {
		details.set(e.name, null);
		if (details.size > 50) details.clear();
		get('image', { name: e.name }).then(report => details.set(e.name, report), error => details.set(e.name, { error: error.message })).then(changed);
	}
	const report = details.get(e.name);
	return h('div', { class: 'stack' },
		h('dl', { class: 'facts' }, h('dt', {}, 'Digest'), h('dd', { class: 'mono' }, e.digest),
			e.pins && [h('dt', {}, 'Pinned by'), h('dd', { class: 'mono' }, e.pins.join(', '))],
			e.changed && [h('dt', {}, 'Tag changed'), h('dd', {}, when(e.changed))],
			e.held && [h('dt', {}, 'Blobs'), h('dd', {}, `${number(e.held.blobs)}, ${bytes(e.held.bytes)}; shared with others: ${bytes(e.held.bytes - e.held.own_bytes)}${e.held.absent ? `; not here: ${number(e.held.absent)}` : ''}`)],
			h('dt', {}, 'Pull'), h('dd', { class: 'mono' }, pullCommand(e)),
			h('dt', {}, 'Platforms'), h('dd', {}, platforms(report))),
		store.actions && h('div', { class: 'row' }, actions(e)));
}

function platforms(report) {
	if (!report) return 'Looking …';
	if (report.error && !report.parts) return report.error;
	const parts = (report.parts || []).filter(p => p.kind === 'manifest' || p.kind === 'platform');
	if (!parts.length) return '–';
	return h('ul', { class: 'row' }, parts.map(p => h('li', { title: (p.missing || []).map(m => m.reason).join('; ') },
		badge(p.complete ? 'good' : '', `${p.platform || 'any'}: ${p.complete ? bytes(p.bytes) : 'not here'}`))));
}

function actions(e) {
	const stored = (e.pins || []).includes(e.name);
	return [
		stored ? h('button', { onclick: () => act('unpin', { pattern: e.name }, `${e.name} is not pinned any more`) }, 'Unpin')
			: h('button', { onclick: () => act('pin', { pattern: e.name }, `${e.name} is pinned`) }, 'Pin'),
		h('button', { onclick: () => act('refresh', { name: e.name }, `${e.name} is up to date`, 'Asking the upstream …') }, 'Refresh'),
		h('button', { class: 'danger', onclick: () => askToRemove(e.name) }, 'Remove …'),
	];
}

async function act(verb, params, done, meanwhile) {
	if (meanwhile) toast(meanwhile);
	try {
		await post(verb, params);
		toast(done);
	} catch (error) {
		toast(error.message);
	}
	details.clear();
	listing.load({ ...params0() }, true);
}

const params0 = () => { const q = new URLSearchParams(location.hash.split('?')[1]); return { in: q.get('in') || '', q: q.get('q') || '', page: q.get('page') || '', sort } };

// askToRemove says what a removal frees before it is done.
async function askToRemove(name) {
	let report;
	try {
		report = await post('remove', { name, dry_run: 1 });
	} catch (error) {
		return toast(error.message);
	}
	const dialog = document.getElementById('dialog');
	const close = () => dialog.close();
	dialog.replaceChildren(h('h2', { id: 'dialog-title' }, 'Remove from the cache?'), h('p', { class: 'mono wrap' }, name),
		h('p', {}, `That frees ${bytes(report.bytes)} in ${plural(report.blobs, 'blob')}. ${report.shared ? `${plural(report.shared, 'part')} stay${report.shared === 1 ? 's' : ''}, as other images have them too. ` : ''}The next pull brings it back from the upstream.`),
		h('div', { class: 'row' }, h('button', { onclick: close }, 'Keep'), h('button', { class: 'danger', onclick: () => { close(); open = ''; act('remove', { name }, `${name} is removed`) } }, 'Remove')));
	dialog.showModal();
}
