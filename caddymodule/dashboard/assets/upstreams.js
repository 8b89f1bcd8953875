// One card for each upstream: how it fares, and by which settings.

import { h, bar, badge, card, empty, bytes, number, percent, when, clock, lasting, now, ticks } from './dom.js';
import { store, loader, post, changed, toast } from './store.js';
import { answered, hitBar, hitRate, stateBadge, worst } from './figures.js';

const settings = loader('options');

export function view(state, params) {
	settings.load({});
	if (!state.upstreams.length) return card('Upstreams', empty('There are none that you may pull from.'));
	const all = [...state.upstreams].sort((a, b) => (b.name === params.name) - (a.name === params.name));
	return h('div', { class: 'cards' }, all.map(upstream));
}

function upstream(u) {
	const t = u.traffic;
	return h('section', { class: 'card stack', 'aria-label': u.name, 'data-key': u.name },
		h('div', { class: 'row spread' }, h('h2', { class: 'wrap' }, u.name), stateBadge(worst(u))),
		(u.urls || []).map(url => address(url, u.urls.length > 1)),
		answered(t) ? h('div', { class: 'pad' }, hitBar(t), h('p', { class: 'small dim' }, `${percent(hitRate(t))} hits of ${number(t.requests)} requests`)) : h('p', { class: 'small dim' }, 'Nothing was answered since the start.'),
		h('dl', { class: 'facts' },
			fact('Sent', bytes(t.sent_bytes)), fact('Received', bytes(t.received_bytes)), fact('Stored', bytes(u.stored_bytes)),
			t.p95_seconds ? fact('Answer time', h('span', { title: 'Time until the header of its answers, of the last 256 requests, those for tokens included.' }, `p50 ${millis(t.p50_seconds)}, p95 ${millis(t.p95_seconds)}`)) : null,
			t.stale ? fact('Stale answers', number(t.stale)) : null, t.errors ? fact('Errors', number(t.errors)) : null),
		options(u.name), test(u.name));
}

const millis = seconds => seconds < 1 ? `${number(Math.max(Math.round(seconds * 1000), 1))} ms` : `${seconds.toFixed(1)} s`;

const fact = (name, value) => [h('dt', {}, name), h('dd', {}, value)];

// address is one URL: what is wrong with it, and its rate limit.
function address(url, several) {
	const wrong = url.state !== 'ok';
	const limit = url.rate_limit;
	if (!wrong && !limit && !several) return null;
	return h('div', { class: 'pad' },
		several && h('p', { class: 'row spread small' }, h('span', { class: 'wrap' }, url.url), stateBadge(url)),
		wrong && h('p', { class: 'wrap' }, ticks((url.error || `it is ${url.state.replaceAll('_', ' ')}`).replace(/\.?$/, '.')), url.since && h('span', { class: 'dim small' }, ' Since ', when(url.since), '.')),
		wrong && url.help && h('p', { class: 'cure' }, h('strong', {}, 'What helps: '), ticks(url.help)),
		limit && gauge(limit));
}

function gauge(limit) {
	const share = limit.limit ? limit.remaining / limit.limit : 1;
	const reset = limit.reset ? `, more at ${clock(limit.reset)}` : '';
	const text = `${number(limit.remaining)}${limit.limit ? ` of ${number(limit.limit)}` : ''} pulls left${limit.window_seconds ? ` in ${lasting(limit.window_seconds)}` : ''}${reset}`;
	return h('div', { class: 'pad' }, h('p', { class: 'small dim' }, `Rate limit: ${text}`), limit.limit ? bar(text, [[share, share < .1 ? 'bad' : share < .3 ? 'warn' : 'good']]) : null);
}

function options(name) {
	const all = (settings.data || {})[name];
	if (!all) return null;
	return h('details', {}, h('summary', {}, 'Settings in force'), h('dl', { class: 'facts' },
		all.map(o => [h('dt', { class: 'mono' }, o.name), h('dd', {}, h('span', { class: 'mono' }, o.value), o.default && h('span', { class: 'dim small' }, ' (default)'))])));
}

const tests = new Map();

function test(name) {
	if (!store.actions) return null;
	const known = tests.get(name) || {};
	return h('div', { class: 'pad' }, h('button', { disabled: known.running, onclick: () => run(name) }, known.running ? 'Testing …' : 'Test now'),
		known.lines && h('ul', { class: 'small pad', 'aria-label': `Test of ${name}` }, known.lines.map(line => h('li', { class: 'wrap' },
			badge(line.ok ? 'good' : 'bad', line.ok ? 'ok' : (line.state || 'failed').replaceAll('_', ' ')), ' ', ticks(line.text || ''), line.seconds ? h('span', { class: 'dim' }, ` ${lasting(line.seconds)}`) : null,
			line.help && h('p', { class: 'cure' }, ticks(line.help))))));
}

async function run(name) {
	tests.set(name, { running: true });
	changed();
	try {
		tests.set(name, { lines: await post('probe', { upstream: name }) });
	} catch (error) {
		tests.delete(name);
		toast(error.message);
	}
	changed();
}
