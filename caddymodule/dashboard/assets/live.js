// What is being pulled, and what was.

import { h, bar, legend, badge, card, table, empty, bytes, percent, lasting, when, plural, now, ticks } from './dom.js';
import { store, speedOf, pullKey } from './store.js';

const phases = { token: 'asks for a token', look_up: 'looks up the manifest', queue: 'waits for other downloads', first_byte: 'waits for the first byte', transfer: 'downloads', client: 'waits for the client' };
const parts = [['look_up', 'c4', 'look-up'], ['token', 'c5', 'token'], ['queue', 'c3', 'queue'], ['first_byte', 'c6', 'first byte'], ['transfer', 'c1', 'transfer'], ['client', 'c7', 'client']];

export const who = pull => pull.user ? `${pull.user} at ${pull.client}` : pull.client;

const caches = { hit: ['good', 'from the cache'], prefetched: ['blue', 'brought ahead'], joined: ['blue', 'joined'], stale: ['warn', 'stale'], miss: ['', 'from the upstream'] };
export const cacheBadge = cache => cache ? badge(...(caches[cache] || ['', cache])) : null;

export function view(state) {
	return [running(state.pulls.running), recent(state.pulls.recent)];
}

// running shows pulls by image: those of one have the same layers.
function running(pulls) {
	if (!pulls.length) return card('Running', empty('Nothing is being pulled. What is shows up here within a second.'));
	const images = Map.groupBy ? Map.groupBy(pulls, p => p.image) : pulls.reduce((map, p) => map.set(p.image, [...(map.get(p.image) || []), p]), new Map());
	return h('div', { class: 'cards' }, [...images].map(([image, of]) => h('section', { class: 'card stack', 'aria-label': image, 'data-key': image },
		h('div', {}, h('h3', {}, image), h('p', { class: 'small dim' }, `${plural(new Set(of.map(who)).size, 'client')}${of[0].platform ? ` · ${of[0].platform}` : ''} · ${of[0].upstream}`)),
		of.map(progress))));
}

function progress(pull) {
	const share = pull.total_bytes ? Math.min(pull.bytes / pull.total_bytes, 1) : 0;
	const speed = speedOf(pull);
	const left = speed > 0 && pull.total_bytes > pull.bytes ? `${lasting((pull.total_bytes - pull.bytes) / speed)} left` : '';
	const text = pull.total_bytes ? `${bytes(pull.bytes)} of ${bytes(pull.total_bytes)}` : bytes(pull.bytes);
	return h('div', { class: 'pad', 'data-key': pullKey(pull) },
		h('p', { class: 'row spread small' }, h('span', { class: 'mono' }, who(pull)), badge(pull.phase === 'transfer' ? 'blue' : '', phases[pull.phase] || pull.phase || 'runs')),
		pull.total_bytes ? bar(`${percent(share)}: ${text}`, [[share, 'c1']], true) : h('div', { class: 'bar thick', role: 'img', 'aria-label': text }, h('i', { class: 'moving' })),
		h('p', { class: 'row spread small dim' }, h('span', {}, text), h('span', {}, speed > 0 ? `${bytes(speed)}/s` : ''), h('span', {}, left || lasting((now() - Date.parse(pull.began)) / 1000))));
}

// split shows where the time of a pull went.
export function split(pull) {
	const seconds = parts.map(([field, of, name]) => [pull.seconds[field + '_seconds'] || 0, of, name]).filter(([n]) => n >= .0005);
	const all = seconds.reduce((sum, [n]) => sum + n, 0);
	if (!all) return null;
	const text = seconds.map(([n, , name]) => `${name} ${lasting(n)}`).join(', ');
	return h('div', { class: 'split', role: 'img', 'aria-label': text, title: text }, seconds.map(([n, of]) => h('i', { class: `key ${of}`, style: { width: `${100 * n / all}%`, height: '100%', 'border-radius': '0' } })));
}

const results = { ok: ['good', 'ok'], failed: ['bad', 'failed'], aborted: ['warn', 'client left'] };

function recent(pulls) {
	if (!pulls.length) return card('Recent', empty('No pull since the gateway was started.'));
	return card('Recent', { aside: legend(parts.map(([, of, name]) => [of, name])) },
		table('Recent pulls', [['Image'], ['Ended'], ['Client'], ['Result'], ['Cache'], ['Size', 'num'], ['Took', 'num'], ['Where the time went']], pulls.map(p => [
			h('div', {}, h('a', { class: 'wrap', href: `#/images?q=${encodeURIComponent(p.image)}` }, p.image), p.platform && h('span', { class: 'small dim' }, ` ${p.platform}`), p.error && h('p', { class: 'small wrap' }, ticks(p.error.replace(`${p.image}: `, '')))),
			when(p.ended), h('span', { class: 'mono' }, who(p)), badge(...(results[p.result] || ['', p.result])), cacheBadge(p.cache), bytes(p.bytes),
			lasting((Date.parse(p.ended) - Date.parse(p.began)) / 1000), split(p)])));
}
