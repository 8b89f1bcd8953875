// The page: which view is shown, and what stands around it.

import { h, show, lasting, now, number } from './dom.js';
import { store, watch, connect, changed } from './store.js';
import { icon } from './icons.js';
import * as overview from './overview.js';
import * as live from './live.js';
import * as upstreams from './upstreams.js';
import * as images from './images.js';
import * as storage from './storage.js';
import * as fleet from './fleet.js';
import * as clients from './clients.js';
import * as setup from './setup.js';

const views = { overview, live, upstreams, images, storage, fleet, clients, setup };
const names = { overview: 'Overview', live: 'Live', upstreams: 'Upstreams', images: 'Images', storage: 'Storage', fleet: 'Fleet', clients: 'Clients', setup: 'Set up' };
const main = document.getElementById('main');

// route reads the fragment: the name of a view, and what it is about.
function route() {
	const [name, query] = location.hash.replace(/^#\/?/, '').split('?');
	return { name: views[name] ? name : 'overview', params: Object.fromEntries(new URLSearchParams(query)) };
}

let shown = '';

function draw() {
	const at = route();
	const state = store.state;
	// A gateway that is alone has no use for the view of others.
	const there = Object.keys(views).filter(name => name !== 'fleet' || name === at.name || state && fleet.of(state));
	show(document.getElementById('nav'), h('ul', {}, there.map(name => h('li', {},
		h('a', { href: `#/${name}`, 'aria-current': name === at.name ? 'page' : undefined }, icon(name), names[name], counter(name, state))))));
	show(document.getElementById('link'), link(state));
	const fresh = shown !== at.name;
	shown = at.name;
	document.title = `${names[at.name]} · Pullgate`;
	const heading = h('h1', { tabindex: -1, id: 'heading' }, names[at.name]);
	if (!state) {
		show(main, h('div', { class: 'head' }, heading), h('p', { class: 'empty' }, store.link === 'bad' ? 'The gateway does not answer. This page goes on asking.' : 'Asking the gateway …'));
		return;
	}
	show(main, h('div', { 'data-key': at.name }, h('div', { class: 'head' }, heading, views[at.name].aside && views[at.name].aside(state, at.params)),
		h('div', { class: 'stack' }, hint(state), views[at.name].view(state, at.params))));
	if (fresh) {
		window.scrollTo(0, 0);
		document.querySelector('#nav [aria-current]').scrollIntoView({ inline: 'center', block: 'nearest' });
	}
}

function counter(name, state) {
	if (!state) return null;
	if (name === 'overview' && state.problems.length) {
		return h('span', { class: state.problems.some(p => !p.minor) ? 'count' : 'count calm', 'aria-label': `${state.problems.length} problems` }, number(state.problems.length));
	}
	const apart = name === 'fleet' ? fleet.problems(state).length : 0;
	if (apart) return h('span', { class: 'count calm', 'aria-label': `${apart} problems` }, number(apart));
	if (name === 'live' && state.pulls.running.length) return h('span', { class: 'count calm', 'aria-label': `${state.pulls.running.length} running` }, number(state.pulls.running.length));
	return null;
}

function link(state) {
	const words = { good: 'Live', bad: 'Not connected', wait: 'Connecting' };
	const of = { good: 'good', bad: 'bad', wait: '' };
	const parts = [h('i', { class: `dot ${of[store.link]}` }), h('span', {}, words[store.link])];
	if (state && state.version) {
		parts.push(h('span', { class: 'long' }, `· ${state.version} · up ${lasting((now() - Date.parse(state.started)) / 1000).replace(/ \d+ s$/, '')}`));
	}
	if (store.user) parts.push(h('span', {}, `· ${store.user}`));
	return parts;
}

function hint(state) {
	if (!state.hidden) return null;
	return h('p', { class: 'card small dim' }, 'Some upstreams are not shown: only users who may pull from them see them.', store.user ? '' : ' This page was opened without a user.');
}

// Who goes to another view by a link gets to its heading, also with a screen reader.
window.addEventListener('hashchange', () => {
	const before = shown;
	draw();
	if (before !== shown) document.getElementById('heading').focus({ preventScroll: true });
});

watch(draw);
window.addEventListener('resize', changed);
setInterval(changed, 5000); // what is told relative to now
draw();
connect();
