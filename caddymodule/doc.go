// Package caddymodule is Pullgate as Caddy sees it: configuration, life cycle,
// metrics, admin API and command. What a pull is answered with is decided in
// the packages below, which know nothing of Caddy.
//
// Modules:
//
//   - registry_mirror ([App]): the store and its limits, one per configuration.
//   - http.handlers.registry_mirror ([Handler]): upstreams and policy of a site.
//   - admin.api.registry_mirror: statistics and checks at /registry_mirror/.
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
