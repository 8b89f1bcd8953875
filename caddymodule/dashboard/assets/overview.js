// How the gateway fares, at a glance.

import { h, bar, legend, badge, card, table, empty, bytes, number, percent, plural, when, ticks } from './dom.js';
import { speedOf } from './store.js';
import { traffic, rangeSwitch } from './history.js';
import { stateBadge, worst } from './upstreams.js';
import { pinnedBytes } from './storage.js';

export const answered = t => t.hits + (t.prefetched || 0) + t.joined + t.misses + t.stale;

// hitRate is the share of what cost the link of the upstream nothing.
export const hitRate = t => (t.hits + t.stale) / answered(t);

const shares = [['hits', 'c2', 'from the cache'], ['prefetched', 'c6', 'brought ahead'], ['joined', 'c1', 'joined a download'], ['stale', 'c3', 'stale'], ['misses', 'c7', 'from the upstream']];

// total adds the traffic of all upstreams up.
export function total(state) {
	const sum = { requests: 0, hits: 0, prefetched: 0, joined: 0, misses: 0, stale: 0, errors: 0, sent_bytes: 0, received_bytes: 0, preloaded_bytes: 0 };
	for (const u of state.upstreams) for (const field of Object.keys(sum)) sum[field] += u.traffic[field] || 0;
	return sum;
}

export const saved = t => t.sent_bytes - (t.received_bytes - t.preloaded_bytes);

export function hitBar(t) {
	const all = answered(t);
	if (!all) return h('span', { class: 'dim small' }, 'nothing yet');
	const text = shares.filter(([field]) => t[field]).map(([field, , words]) => `${percent(t[field] / all)} ${words}`).join(', ');
	return bar(text, shares.map(([field, of]) => [t[field] / all, of]));
}

export function view(state) {
	return [tiles(state), problems(state), traffic('Traffic', [['sent', 'Sent to clients'], ['received', 'Received from upstreams']]), upstreams(state)];
}

export const aside = () => rangeSwitch();

function tiles(state) {
	const t = total(state);
	const all = answered(t);
	const running = state.pulls.running;
	const speed = running.reduce((sum, p) => sum + speedOf(p), 0);
	return h('div', { class: 'tiles' },
		tile('Bytes saved', bytes(Math.max(saved(t), 0)), null,
			`${bytes(t.sent_bytes)} sent, ${bytes(t.received_bytes)} received since the start${t.preloaded_bytes ? `, ${bytes(t.preloaded_bytes)} of that preloaded` : ''}`),
		tile('Hit rate', all ? percent(hitRate(t)) : '–', hitBar(t),
			all ? legend(shares.filter(([field]) => t[field]).map(([field, of, words]) => [of, `${percent(t[field] / all)} ${words}`])) : 'No pull since the start'),
		disk(state),
		tile('Pulls now', number(running.length), null,
			running.length ? `${bytes(speed)}/s to ${plural(new Set(running.map(p => p.client)).size, 'client')}`
				: state.pulls.recent.length ? ['The last one ', when(state.pulls.recent[0].ended), ': ', h('span', { class: 'wrap' }, state.pulls.recent[0].image)] : 'None since the start'));
}

export function tile(label, value, graph, foot) {
	const [, n, unit] = /^([\d.,–]+)(.*)$/.exec(value) || [null, value, ''];
	return h('section', { class: 'card tile', 'aria-label': label }, h('h2', { class: 'label' }, label), h('p', { class: 'value' }, n, h('small', {}, unit)), graph, h('div', { class: 'foot' }, foot));
}

// disk is how full the storage is: of its limit, or of what the disk has for it.
function disk(state) {
	const sum = { blobs: 0, pinned: 0, most: 0, free: 0 };
	for (const c of state.storage) {
		sum.blobs += c.blob_bytes;
		sum.most += c.max_size || c.blob_bytes + c.free_bytes;
		sum.free += c.free_bytes;
	}
	sum.pinned = Math.min(pinnedBytes(state), sum.blobs);
	const limited = state.storage.some(c => c.max_size);
	const share = sum.most ? sum.blobs / sum.most : 0;
	const label = `${bytes(sum.blobs)} of ${bytes(sum.most)}, ${bytes(sum.pinned)} of it pinned`;
	return tile('Cached', bytes(sum.blobs),
		bar(label, [[sum.pinned / sum.most, 'pinned'], [(sum.blobs - sum.pinned) / sum.most, share > .97 && !limited ? 'warn' : 'c1']], true),
		legend([['c1', `${percent(share)} of ${bytes(sum.most)}${limited ? ' (max_size)' : ' on the disk'}`], ...(sum.pinned ? [['pinned', `${bytes(sum.pinned)} pinned`]] : []), ['free', `${bytes(sum.free)} free`]]));
}

function problems(state) {
	if (!state.problems.length) {
		return h('section', { class: 'card row', 'aria-label': 'Problems' }, h('span', { class: 'mark good', 'aria-hidden': 'true' }, '✓'),
			h('h2', {}, 'All is well'), h('span', { class: 'dim small' }, `${plural(state.upstreams.length, 'upstream')}, ${plural(state.storage.length, 'storage')}`));
	}
	return card('Problems', { aside: badge(state.problems.some(p => !p.minor) ? 'bad' : 'warn', number(state.problems.length)) },
		problemList(state.problems));
}

export const problemList = problems => h('div', {}, problems.map(p => h('div', { class: 'problem' },
	h('span', { class: p.minor ? 'mark warn' : 'mark', role: 'img', 'aria-label': p.minor ? 'minor' : 'serious' }, '!'),
	h('div', {}, h('div', { class: 'row spread' }, h('h3', {}, p.name || p.what), p.since && h('span', { class: 'small dim' }, 'since ', when(p.since))),
		h('p', { class: 'wrap' }, ticks(p.cause)), p.cure && h('p', { class: 'cure wrap' }, h('strong', {}, 'What helps: '), ticks(p.cure))))));

function upstreams(state) {
	if (!state.upstreams.length) return card('Upstreams', empty('There are none that you may pull from.'));
	return card('Upstreams', table('Upstreams', [['Upstream'], ['State'], ['Answered'], ['Hits', 'num'], ['Sent', 'num'], ['Received', 'num'], ['Saved', 'num'], ['Stored', 'num']],
		state.upstreams.map(u => {
			const all = answered(u.traffic);
			return [h('a', { href: `#/upstreams?name=${encodeURIComponent(u.name)}` }, u.name), stateBadge(worst(u)), hitBar(u.traffic), all ? percent(hitRate(u.traffic)) : '–',
				bytes(u.traffic.sent_bytes), bytes(u.traffic.received_bytes), bytes(Math.max(saved(u.traffic), 0)), bytes(u.stored_bytes)];
		})));
}
