// What several views show: figures of traffic, states of upstreams, and problems.

import { h, bar, badge, percent, when, clock, now, ticks } from './dom.js';

export const answered = t => t.hits + (t.prefetched || 0) + t.joined + t.misses + t.stale;

// hitRate is the share of what cost the link of the upstream nothing.
export const hitRate = t => (t.hits + t.stale) / answered(t);

export const shares = [['hits', 'c2', 'from the cache'], ['prefetched', 'c6', 'brought ahead'], ['joined', 'c1', 'joined a download'], ['stale', 'c3', 'stale'], ['misses', 'c7', 'from the upstream']];

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

export function tile(label, value, graph, foot) {
	const [, n, unit] = /^([\d.,–]+)(.*)$/.exec(value) || [null, value, ''];
	return h('section', { class: 'card tile', 'aria-label': label }, h('h2', { class: 'label' }, label), h('p', { class: 'value' }, n, h('small', {}, unit)), graph, h('div', { class: 'foot' }, foot));
}

export const problemList = problems => h('div', {}, problems.map(p => h('div', { class: 'problem' },
	h('span', { class: p.minor ? 'mark warn' : 'mark', role: 'img', 'aria-label': p.minor ? 'minor' : 'serious' }, '!'),
	h('div', {}, h('div', { class: 'row spread' }, h('h3', {}, p.name || p.what), p.since && h('span', { class: 'small dim' }, 'since ', when(p.since))),
		h('p', { class: 'wrap' }, ticks(p.cause)), p.cure && h('p', { class: 'cure wrap' }, h('strong', {}, 'What helps: '), ticks(p.cure))))));

const severity = ['ok', 'slow', 'failing', 'denied', 'limited', 'credentials_refused', 'name_does_not_resolve', 'certificate', 'down'];

// worst is the URL that decides how an upstream fares: it is as well as the best of them.
export const worst = u => (u.urls || []).reduce((best, url) => !best || severity.indexOf(url.state) < severity.indexOf(best.state) ? url : best, null);

export function stateBadge(url) {
	if (!url) return badge('', 'not asked yet');
	const of = url.state === 'ok' ? 'good' : ['slow', 'denied', 'limited', 'failing'].includes(url.state) ? 'warn' : 'bad';
	const until = url.until && Date.parse(url.until) > now() ? ` until ${clock(url.until)}` : '';
	return badge(of, [h('i', { class: `dot ${of}` }), url.state.replaceAll('_', ' ') + until]);
}
