// Package caddymodule is Pullgate as Caddy sees it: what it loads, and its life
// cycle. What a pull is answered with is decided in the internal packages, which
// know nothing of Caddy. Package config has the options of upstreams and storage,
// admin the admin API, and command the command "pullgate mirror"; the latter two
// share their verbs, in internal/operate.
//
// Modules:
//
//   - registry_mirror ([App]): the store and its limits, one per configuration.
//   - http.handlers.registry_mirror ([Handler]): upstreams and policy of a site.
//   - admin.api.registry_mirror ([admin.API]): the verbs at /registry_mirror/.
//   - registry_mirror.credentials.*: sources of credentials, see package credentials.
//
// Who owns what. Stores and upstream clients outlive configurations: they lie in
// process-wide pools, a store under its path, a client under a fingerprint of
// its whole configuration, and whoever uses one holds a reference. The App holds
// one to its store from Start to Cleanup. A Handler holds one to the store and
// to each of its clients from Start until Cleanup has been called and its last
// request is done, because Caddy cleans up an old configuration while it still
// serves. So a reload closes nothing that the new configuration uses too, and
// cuts no pull.
package caddymodule
