// Package dashboard is a web page about a gateway, for people who would rather look
// than read: a handler for a site of Caddy, its assets, and what these ask for.
//
// The page is made of files that lie in the binary, without any build step, and asks
// for nothing elsewhere. All its URLs are relative, so it works below any path. What
// it shows comes as one stream of server-sent events, whose snapshots are made once
// for all who listen, and only while anybody does; and as JSON for what is too large
// for that. Every answer is for the user who asks: of upstreams that he may not pull
// from, nothing is told.
package dashboard
