// How the gateway fares, at a glance.

import { h, bar, legend, badge, card, table, empty, bytes, number, percent, plural, when } from './dom.js';
import { speedOf } from './store.js';
import { traffic, rangeSwitch } from './history.js';
import { answered, hitRate, shares, total, saved, hitBar, tile, problemList, stateBadge, worst } from './figures.js';
import { pinnedBytes } from './storage.js';

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

function upstreams(state) {
	if (!state.upstreams.length) return card('Upstreams', empty('There are none that you may pull from.'));
	return card('Upstreams', table('Upstreams', [['Upstream'], ['State'], ['Answered'], ['Hits', 'num'], ['Sent', 'num'], ['Received', 'num'], ['Saved', 'num'], ['Stored', 'num']],
		state.upstreams.map(u => {
			const all = answered(u.traffic);
			return [h('a', { href: `#/upstreams?name=${encodeURIComponent(u.name)}` }, u.name), stateBadge(worst(u)), hitBar(u.traffic), all ? percent(hitRate(u.traffic)) : '–',
				bytes(u.traffic.sent_bytes), bytes(u.traffic.received_bytes), bytes(Math.max(saved(u.traffic), 0)), bytes(u.stored_bytes)];
		})));
}
