module example.com/source

go 1.26.0

require (
	github.com/caddyserver/caddy/v2 v2.11.9
	github.com/pullgate/pullgate v0.0.1
)
