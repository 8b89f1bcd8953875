// What takes the space, and what is going to go.

import { h, bar, badge, legend, card, table, empty, bytes, number, percent, plural, when } from './dom.js';
import { loader } from './store.js';
import { traffic, rangeSwitch } from './history.js';

const pins = loader('pins');
const next = loader('next');

export const aside = () => rangeSwitch();

export function view(state) {
	const old = l => Date.now() - l.at > 60000;
	pins.load({}, old(pins));
	next.load({}, old(next));
	return [state.storage.map(c => space(c, state.storage.length > 1 ? c.pinned_bytes : pinnedBytes(state))), h('div', { class: 'halves' }, going(), pinned()), traffic('Evictions', [['evicted', 'Evicted']], 'bars'), h('div', { class: 'halves' }, state.storage.map(integrity))];
}

const colours = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6'];

// space shows what a storage has by upstream, beside its limit.
function space(c, pinned) {
	const most = c.max_size || c.blob_bytes + c.free_bytes;
	const all = Object.entries(c.upstreams || {}).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
	const known = all.filter(([name]) => name).slice(0, 6);
	const rest = c.blob_bytes - known.reduce((sum, [, n]) => sum + n, 0);
	const parts = known.map(([, n], i) => [n / most, colours[i]]).concat([[rest / most, 'c7']]);
	return card('Space', { aside: h('span', { class: 'small dim mono wrap' }, c.path) },
		h('p', { class: 'value' }, bytes(c.blob_bytes), h('small', {}, ` of ${bytes(most)}${c.max_size ? ' (max_size)' : ' that the disk has for it'}${c.counted ? '' : ', still being counted'}`)),
		bar(`${percent(c.blob_bytes / most)} of ${bytes(most)} is used`, parts, true),
		legend(known.map(([name, n], i) => [colours[i], `${name} ${bytes(n)}`]).concat(rest > 0 ? [['c7', `others ${bytes(rest)}`]] : [], [['free', `room for ${bytes(Math.max(Math.min(most - c.blob_bytes, c.free_bytes), 0))}`]])),
		h('p', { class: 'small dim' }, `${plural(c.blobs, 'blob')}, ${bytes(pinned)} pinned, beside them an index of ${bytes(c.index_bytes)} and a ballast of ${bytes(c.ballast_bytes)}. ${bytes(c.free_bytes)} of ${bytes(c.total_bytes)} of the disk are free.`));
}

// going lists what was used least recently: that goes first when room is needed.
function going() {
	const all = next.data && next.data.blobs;
	if (next.error) return card('Next to go', empty(next.error));
	if (!all) return card('Next to go', empty('Looking …'));
	if (!all.length) return card('Next to go', empty('Nothing is cached that may go.'));
	return card('Next to go', h('p', { class: 'small dim' }, 'When room is needed, the blobs that nobody used for the longest go first. Pinned ones never do.'),
		table('Next to go', [['Of'], ['Blobs', 'num'], ['Size', 'num'], ['Used']], grouped(all).map(g => [
			g.scope ? h('span', { class: 'wrap' }, g.scope) : h('span', { class: 'dim' }, 'no repository any more'), number(g.blobs), bytes(g.bytes), when(g.used)])));
}

// pinnedBytes is how much never goes, as of a while ago.
export function pinnedBytes(state) {
	if (state.storage.some(c => c.pins)) next.load({}, Date.now() - next.at > 300000);
	return next.data ? next.data.pinned_bytes : state.storage.reduce((sum, c) => sum + c.pinned_bytes, 0);
}

// grouped brings the blobs of a repository together that go one after the other.
function grouped(blobs) {
	const groups = [];
	for (const b of blobs) {
		const scope = b.scopes.length > 1 ? `${b.scopes[0]} and ${plural(b.scopes.length - 1, 'other')}` : b.scopes[0];
		let g = groups.find(g => g.scope === scope);
		if (!g) { g = { scope, blobs: 0, bytes: 0 }; groups.push(g) }
		g.blobs++;
		g.bytes += b.bytes;
		g.used = b.used;
	}
	return groups.slice(0, 12);
}

function pinned() {
	const all = pins.data || [];
	if (!all.length) return card('Pins', empty('Nothing is pinned. Pinned images are never evicted: pullgate mirror pin, the option pin, or the button at an image.'));
	return card('Pins', table('Pins', [['Pattern'], ['Images', 'num'], ['Keeps', 'num'], ['From']], all.map(p => [h('span', { class: 'mono wrap' }, p.pattern), number(p.images), bytes(p.bytes),
		p.stored ? ['command ', p.made && when(p.made)] : 'configuration'])));
}

function integrity(c) {
	const fine = c.index_open && !c.quarantined_blobs && !c.index_rebuilds;
	const fact = (name, value) => [h('dt', {}, name), h('dd', {}, value)];
	return card('Integrity', { aside: badge(fine ? 'good' : c.index_open ? 'warn' : 'bad', fine ? 'ok' : 'look here') }, h('dl', { class: 'facts' },
		fact('Index', c.index_open ? c.index_rebuilds ? `open, begun anew ${number(c.index_rebuilds)} times: ${c.index_error}` : 'open' : `not open: ${c.index_error || ''}`),
		fact('Damaged blobs', c.quarantined_blobs ? `${number(c.quarantined_blobs)}, taken out of use` : 'none found since the start'),
		fact('Scrubbed', c.scrubbed ? ['all blobs were read ', when(c.scrubbed)] : 'not all blobs were read yet'),
		fact('Snapshot of the index', c.snapshot ? when(c.snapshot) : 'not yet'),
		fact('Evicted', `${bytes(c.evicted_last_hour_bytes)} in the last hour, ${bytes(c.evicted_bytes)} in ${plural(c.evicted_blobs, 'blob')} since the start`),
		fact('Downloads', `${number(c.fills)} running, ${number(c.queued)} waiting, ${number(c.readers)} readers`),
		fact('Look by hand', h('code', {}, 'pullgate mirror fsck --verify'))));
}
