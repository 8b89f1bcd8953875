import { s } from './dom.js';

const paths = {
	overview: 'M4 13a8 8 0 1 1 16 0M12 13l4-4M4 17h16',
	live: 'M12 3v11m-4.5-4.5L12 14l4.5-4.5M4 18.5h16',
	upstreams: 'M5 5h14v5H5zM5 14h14v5H5zM8.5 7.5h.01M8.5 16.5h.01',
	images: 'M12 3l8 4.5v9L12 21l-8-4.5v-9zM4.3 7.6L12 12l7.7-4.4M12 12v9',
	storage: 'M4 6.5C4 4.6 7.6 3.5 12 3.5s8 1.1 8 3-3.6 3-8 3-8-1.1-8-3zm0 0v11c0 1.9 3.6 3 8 3s8-1.1 8-3v-11M4 12c0 1.9 3.6 3 8 3s8-1.1 8-3',
	fleet: 'M12 8.5V12m0 0-5.5 4M12 12l5.5 4M12 8.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM5.5 20.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM18.5 20.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z',
	clients: 'M4 5h16v10H4zM9 19h6M12 15v4',
	setup: 'M14.5 5.5a4 4 0 0 0 4.8 5.2L10 20a2.1 2.1 0 0 1-3-3l9.3-9.3M5 4l4 4',
};

export const icon = name => s('svg', { viewBox: '0 0 24 24', 'aria-hidden': 'true' }, s('path', { d: paths[name] }));
