// One stream for all pages of a browser, which opens only a few connections to a server.
'use strict';

const ports = [];
const last = {};
let source;

function tell(kind, data) {
	last[kind] = { kind, data };
	for (const port of ports) port.postMessage(last[kind]);
}

function connect() {
	source = new EventSource('api/events');
	source.addEventListener('hello', event => {
		tell('hello', event.data);
		tell('link', 'good');
	});
	source.onmessage = event => tell('state', event.data);
	source.onerror = () => {
		tell('link', 'bad');
		if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
	};
}

self.onconnect = event => {
	const port = event.ports[0];
	ports.push(port);
	for (const kind of ['hello', 'state', 'link']) if (last[kind]) port.postMessage(last[kind]);
	if (!source) connect();
};

// Without shared workers, a page loads this as a module.
if (typeof SharedWorkerGlobalScope === 'undefined') self.pullgateStream = { ports, connect };
