// Package config holds what a user configures of upstreams and storage, as JSON and in a
// Caddyfile: every option with its check, and what the engine is made with from it. All
// options of the Caddyfile stand in one table.
package config
