// How clients are made to pull through this gateway.

import { h, card, empty, when } from './dom.js';
import { store, endpointURL, loader, changed, copy } from './store.js';
import { who } from './live.js';

const setup = loader('setup');
setup.keep = true;
let endpoint = null, user = '', skip = false, client = 'talos', since = 0;

// addresses are what clients may reach the gateway by, as far as it knows them.
function addresses(state) {
	return state.endpoints.map(endpointURL);
}

export function view(state) {
	since = since || Date.now();
	const known = addresses(state);
	if (endpoint === null) endpoint = known[0] || `${location.protocol}//${location.hostname}:5000`;
	if (!user && store.user) user = store.user;
	setup.load({ client, endpoint, user, skip_fallback: skip ? '1' : '' });
	const s = setup.data;
	return [card('This gateway', form(known)), signal(state), h('section', { class: 'card stack', 'aria-label': 'Clients' }, tabs(s ? usual(s.clients) : [{ name: client }]),
		h('div', { id: 'panel', role: 'tabpanel', 'aria-labelledby': `tab-${client}`, tabindex: 0, class: 'stack' }, files(s)))];
}

function form(known) {
	return h('div', { class: 'row' },
		h('label', { class: 'field' }, 'Where clients reach it', h('input', { type: 'text', value: endpoint, spellcheck: 'false', autocomplete: 'off', list: 'known', oninput: event => { endpoint = event.target.value.trim(); changed() } }),
			h('datalist', { id: 'known' }, known.map(value => h('option', { value })))),
		h('label', { class: 'field' }, 'User, if it asks for one', h('input', { type: 'text', value: user, autocomplete: 'off', spellcheck: 'false', oninput: event => { user = event.target.value.trim(); changed() } })),
		h('label', { class: 'check small' }, h('input', { type: 'checkbox', checked: skip, onchange: event => { skip = event.target.checked; changed() } }), 'Never go around the gateway'));
}

// signal turns green with the first pull since the view was opened.
function signal(state) {
	const pull = [...state.pulls.running, ...state.pulls.recent].filter(p => Date.parse(p.began) > since - 1000).sort((a, b) => Date.parse(a.began) - Date.parse(b.began))[0];
	return h('div', { class: pull ? 'signal on' : 'signal', role: 'status' }, h('span', { class: 'lamp', 'aria-hidden': 'true' }),
		pull ? h('p', {}, h('strong', {}, `It works: ${who(pull)} pulls here.`), ' ', h('span', { class: 'wrap' }, pull.image), ', ', when(pull.began))
			: h('p', {}, h('strong', {}, 'Waiting for a pull.'), ' Set a client up, pull an image with it, and this turns green.'));
}

function tabs(all) {
	const choose = name => { client = name; changed() };
	return h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Client' }, all.map((c, i) => h('button', {
		role: 'tab', id: `tab-${c.name}`, 'aria-selected': String(c.name === client), 'aria-controls': 'panel', tabindex: c.name === client ? 0 : -1, title: c.summary, onclick: () => choose(c.name),
		onkeydown: event => {
			const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: all.length - 1 }[event.key];
			if (to === undefined) return;
			event.preventDefault();
			const name = all[(to + all.length) % all.length].name;
			choose(name);
			document.getElementById(`tab-${name}`).focus();
		},
	}, c.name)));
}

const first = ['talos', 'containerd', 'k3s', 'docker', 'podman'];

// usual sorts those first that most people have.
const usual = all => [...all].sort((a, b) => (first.indexOf(a.name) + 1 || 9) - (first.indexOf(b.name) + 1 || 9));

function files(s) {
	if (setup.error) return empty(setup.error);
	if (!s) return empty('Asking …');
	return [
		h('ol', { class: 'stack' }, s.files.map(f => h('li', { class: 'pad' }, h('div', { class: 'row spread' }, h('h3', { class: 'mono' }, s.directory ? `${s.directory}/${f.path}` : f.path),
			h('button', { onclick: () => copy(f.content), 'aria-label': `Copy ${f.path}` }, 'Copy')), h('pre', { class: 'file', tabindex: 0, role: 'region', 'aria-label': f.path }, f.content)))),
		s.steps.length ? h('div', { class: 'pad' }, h('h3', {}, 'Then'), h('ul', { class: 'small pad' }, s.steps.map(step => h('li', { class: 'wrap' }, step)))) : null,
		h('div', { class: 'pad' }, h('h3', {}, 'The same by command'), h('div', { class: 'row spread' }, h('code', { class: 'wrap' }, s.command), h('button', { onclick: () => copy(s.command), 'aria-label': 'Copy the command' }, 'Copy'))),
	];
}
