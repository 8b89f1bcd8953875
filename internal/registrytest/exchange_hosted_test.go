package registrytest

import "testing"

func TestHostedRegistriesAnswerLiterally(t *testing.T) {
	t.Parallel()
	const gitlab = `Www-Authenticate: Bearer realm="{token}/jwt/auth",service="container_registry"`
	testExchanges(t, "registry.gitlab", []exchange{
		{"GET /v2/", "", 401, []string{gitlab}},
		{"GET /v2/{open}/manifests/1", "", 401, []string{gitlab + `,scope="repository:{open}:pull"`}},
		{"GET {token}/jwt/auth?scope=repository:{open}:pull", "", 200, []string{`{"token":"*"}`}},
		{"GET {token}/jwt/auth?scope=repository:{closed}:pull", "", 403, []string{`{"errors":[{"code":"DENIED","message":"access forbidden"}]}`}},
		{"GET {token}/jwt/auth?scope=repository:{gone}:pull", "", 403, nil},
		{"GET {token}/jwt/auth?scope=repository:{secret}:pull", basic, 200, []string{`{"token":"*"}`}},
		{"GET /v2/{secret}/manifests/1", "user secret", 401, []string{gitlab + `,scope="repository:{secret}:pull"` + insufficient}},
		{"GET /v2/{open}/manifests/sha256-{indexhex}", "guest open", 200, []string{"Docker-Content-Digest: {index}"}},
		{"GET /v2/{open}/referrers/{index}", "guest open", 404, nil},
	})
	const harbor = `Www-Authenticate: Bearer realm="{self}/service/token",service="harbor-registry"`
	testExchanges(t, "harbor", []exchange{
		{"GET /v2/", "", 401, []string{harbor}},
		{"GET /v2/{open}/manifests/1", "", 401, []string{harbor + `,scope="repository:{open}:pull"`}},
		{"GET /v2/{gone}/manifests/1", "", 401, []string{harbor + `,scope="repository:{gone}:pull"`}},
		{"GET /v2/{gone}/manifests/1", "guest gone", 401, []string{"Www-Authenticate:"}},
		{"GET /v2/{secret}/manifests/1", "guest secret", 401, []string{`Www-Authenticate: Basic realm="harbor"`}},
		{"GET /v2/{secret}/manifests/1", basic, 401, []string{`Www-Authenticate: Basic realm="harbor"`}},
		{"GET /v2/{closed}/manifests/1", basic, 200, nil},
		{"GET {self}/service/token?service=harbor-registry&scope=repository:{secret}:pull", "", 200, []string{`{"token":"*","access_token":"","expires_in":1800,"issued_at":"*Z"}`}},
		{"GET {self}/service/token?service=harbor-registry", "", 401, nil},
		{"GET /v2/{none}/manifests/1", "guest open", 401, nil},
		{"HEAD /v2/{open}/manifests/1", "guest open", 200, []string{"Docker-Content-Digest: {index}"}},
		{"GET /v2/{open}/manifests/1", "guest open", 200, []string{"Docker-Content-Digest:", "Etag:"}},
		{"GET /v2/{open}/manifests/{index}", "guest open", 200, []string{"Docker-Content-Digest: {index}"}},
		{"HEAD /v2/{open}/blobs/{layer}", "guest open", 404, nil},
		{"GET /v2/{open}/blobs/{layer}", "guest open", 200, nil},
	})
	const nexus = `Www-Authenticate: Bearer realm="{self}/v2/token",service="{self}/v2/token"`
	testExchanges(t, "nexus", []exchange{
		{"GET /v2/", "", 401, []string{nexus}},
		{"GET /v2/{open}/manifests/1", "", 401, []string{nexus + `,scope="repository:*:pull"`}},
		{"GET {self}/v2/token", "", 200, []string{`{"token":"DockerToken.*"}`}},
		{"HEAD /v2/{open}/manifests/1", "guest open", 404, []string{"Content-Type: text/html*"}},
		{"GET /v2/{open}/manifests/1", "guest open", 200, []string{"Docker-Content-Digest: {index}"}},
		{"GET /v2/{closed}/manifests/1", "user open", 200, nil},
		{"GET /v2/{closed}/manifests/1", basic, 200, nil},
		{"GET /v2/{gone}/tags/list", "guest open", 404, []string{"*NAME_UNKNOWN*"}},
	})
	testExchanges(t, "nexus-basic", []exchange{
		{"GET /v2/", "", 401, []string{`Www-Authenticate: BASIC realm="Sonatype Nexus Repository Manager"`}},
		{"HEAD /v2/{open}/manifests/1", basic, 200, nil},
	})
	testExchanges(t, "artifactory", []exchange{
		{"GET /v2/", "", 401, []string{`Www-Authenticate: Bearer realm="{self}/v2/token",service="{host}"`}},
		{"GET /v2/{open}/manifests/1", "", 401, []string{`Www-Authenticate: Bearer realm="{self}/artifactory/api/docker/open/v2/token",service="{host}",scope="repository:bitnami/app:pull"`}},
		{"HEAD /v2/{open}/manifests/1", "", 401, []string{`Www-Authenticate: Bearer realm="{self}/artifactory/api/docker/open/v2/token",service="{host}"`}},
		{"GET {self}/artifactory/api/docker/open/v2/token?scope=repository:bitnami/app:pull", "", 200, []string{`{"token":"*","expires_in":9000}`}},
		{"GET {self}/artifactory/api/docker/closed/v2/token?scope=repository:bitnami/app:pull", "", 401, []string{`{"errors":[{"status":401,"message":"Authentication is required"}]}`}},
		{"GET {self}/artifactory/api/docker/open/v2/token", "Basic dXNlcjp3cm9uZw==", 401, []string{"*Bad Credentials*"}},
		{"GET /v2/{closed}/manifests/1", "user open", 401, nil},
		{"GET /v2/{closed}/manifests/1", "user closed", 200, []string{"Etag: 0a4d55a8d778e5022fab701977c5d840bbc486d0"}},
		{"GET /v2/{open}/blobs/{layer}", "guest open", 404, []string{"*BLOB_UNKNOWN*"}},
		{"GET /v2/{none}/tags/list", "user none", 401, nil},
		{"GET /v2/{none}/manifests/1", basic, 404, []string{`*MANIFEST_UNKNOWN*{"manifest":"bitnami/none"}*`}},
	})
	const pulp = `Www-Authenticate: Bearer realm="{token}/token/",service="{host}"`
	testExchanges(t, "pulp", []exchange{
		{"GET /v2/", "", 401, []string{pulp}},
		{"GET /v2/{open}/manifests/1", "", 401, []string{pulp + `,scope="repository:{open}:pull"`}},
		{"GET /v2/{open}/manifests/1", "Bearer old", 401, []string{pulp + `,scope="repository:{open}:pull",error="invalid_token"`}},
		{"GET {token}/token/?scope=repository:{open}:pull", "", 400, nil},
		{"GET {token}/token/?service=x&scope=repository:{closed}:pull", "", 200, []string{`{"expires_in":300,"issued_at":"*Z","token":"*","access_token":"*"}`}},
		{"GET /v2/{closed}/manifests/1", "guest closed", 403, []string{"*DENIED*"}},
		{"HEAD /v2/{open}/blobs/{layer}", "guest open", 302, []string{"Location: {cdn}/pulp/container/{open}/blobs/{layer}?*"}},
		{"GET /v2/{open}/referrers/{index}", "guest open", 404, nil},
	})
	testExchanges(t, "gitea", []exchange{
		{"GET /v2/", "", 401, []string{`Www-Authenticate: Bearer realm="{self}/v2/token",service="container_registry",scope="*" | Basic realm="Gitea Container Registry"`}},
		{"GET /v2/", "guest open", 200, nil},
		{"GET {self}/v2/token", "", 200, []string{`{"token":"*"}`}},
		{"HEAD /v2/{open}/manifests/1", "guest open", 200, []string{"Docker-Content-Digest: {index}"}},
		{"GET /v2/{open}/manifests/1", "guest gone", 307, []string{"Location: {cdn}/packages/{indexhex}?*", "Content-Length: *"}},
		{"HEAD /v2/{open}/blobs/{layer}", "guest open", 200, []string{"Content-Type:", "Content-Length: 300"}},
		{"GET /v2/{gone}/tags/list", "guest open", 404, []string{"*NAME_UNKNOWN*"}},
		{"GET /v2/{closed}/manifests/1", basic, 307, nil},
	})
	const registry = `Www-Authenticate: Bearer realm="{token}/auth/token",service="registry"`
	testExchanges(t, "registry-2", []exchange{
		{"GET /v2/", "", 401, []string{registry}},
		{"GET /v2/{open}/manifests/1", "", 401, []string{registry + `,scope="repository:{open}:pull"`}},
		{"GET /v2/{secret}/manifests/1", "guest secret", 401, []string{registry + `,scope="repository:{secret}:pull"` + insufficient}},
		{"GET /v2/{gone}/manifests/1", "guest gone", 404, []string{"*MANIFEST_UNKNOWN*"}},
		{"GET /v2/{gone}/tags/list", "guest gone", 404, []string{"*NAME_UNKNOWN*"}},
		{"HEAD /v2/{open}/blobs/{layer}", "guest open", 307, []string{"Docker-Content-Digest:"}},
		{"GET /v2/{open}/referrers/{index}", "guest open", 404, nil},
	})
	for _, zot := range []string{"zot", "zot-sync"} {
		testExchanges(t, zot, []exchange{
			{"GET /v2/", "", 200, []string{"Www-Authenticate: basic realm=zot"}},
			{"GET /v2/{open}/manifests/1", "", 200, []string{"Docker-Content-Digest: {index}", "Etag:"}},
			{"GET /v2/{closed}/manifests/1", "", 401, []string{`Www-Authenticate: Basic realm="Authorization Required"`, `{"code":"UNAUTHORIZED",*`}},
			{"GET /v2/{secret}/manifests/1", basic, 403, []string{`Www-Authenticate: Basic realm="Authorization Required"`, "*DENIED*"}},
			{"GET /v2/{open}/tags/list?last=none", "", 404, nil},
			{"GET /v2/{gone}/manifests/1", "", 404, nil},
		})
	}
	testExchanges(t, "zot", []exchange{
		{"HEAD /v2/{open}/blobs/{layer}", "", 200, []string{"Content-Length: 300"}},
		{"GET /v2/{open}/blobs/{layer}", "", 307, nil},
	})
	testExchanges(t, "zot-sync", []exchange{{"GET /v2/{open}/blobs/{layer}", "", 404, []string{"*BLOB_UNKNOWN*"}}})
}
