// Who pulls.

import { h, card, table, empty, bytes, number, when } from './dom.js';

export function view(state) {
	const all = state.pulls.clients;
	if (!all.length) {
		return card('Clients', empty(state.hidden ? 'Who pulls is shown only to users who may pull from every upstream.' : 'Nobody has pulled since the gateway was started.'));
	}
	return card('Since the gateway was started', table('Clients', [['Address'], ['User'], ['Pulls', 'num'], ['Requests', 'num'], ['Bytes', 'num'], ['Errors', 'num'], ['Last seen']], all.map(c => [
		h('span', { class: 'mono' }, c.client), c.user || h('span', { class: 'dim' }, 'none'), number(c.pulls), number(c.requests), bytes(c.bytes), c.errors ? h('strong', {}, number(c.errors)) : '0', when(c.last_seen)])));
}
