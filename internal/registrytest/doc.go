// Package registrytest is a scriptable upstream registry for tests: real HTTP
// on 127.0.0.1, an optional token server and an optional CDN host that blobs
// are redirected to, every request counted, every fault on demand. A Profile makes
// it answer as one of the real registries does.
package registrytest
