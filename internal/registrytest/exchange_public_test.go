package registrytest

import "testing"

const insufficient = `,error="insufficient_scope"`

func TestPublicRegistriesAnswerLiterally(t *testing.T) {
	t.Parallel()
	const hub = `Www-Authenticate: Bearer realm="{token}/token",service="registry.docker.io"`
	testExchanges(t, "docker.io", []exchange{
		{"GET /v2/", "", 401, []string{hub, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`}},
		{"GET /v2/", "guest open", 200, nil},
		{"GET /v2/{open}/manifests/1", "", 401, []string{hub + `,scope="repository:{open}:pull"`}},
		{"GET /v2/{gone}/manifests/1", "guest gone", 401, []string{hub + `,scope="repository:{gone}:pull"` + insufficient}},
		{"GET /v2/{secret}/manifests/1", "guest secret", 401, []string{hub + `,scope="repository:{secret}:pull"` + insufficient}},
		{"GET /v2/{closed}/manifests/1", "guest closed", 401, nil},
		{"GET /v2/{closed}/manifests/1", "user closed", 200, nil},
		{"GET /v2/{closed}/manifests/1", "user open", 401, nil},
		{"GET {token}/token?scope=repository:{secret}:pull", "", 200, []string{`{"token":"*","access_token":"*","expires_in":300,"issued_at":"*Z"}`}},
		{"GET {token}/token?scope=repository:{open}:pull", "Basic dXNlcjp3cm9uZw==", 401, nil},
		{"GET /v2/{open}/manifests/2", "guest open", 404, []string{`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":"unknown tag=2"}]}`}},
		{"HEAD /v2/{open}/manifests/1", "guest open", 200, []string{`Etag: "{index}"`, "Docker-Content-Digest: {index}", "Ratelimit-Remaining: 76;w=3600"}},
		{"GET /v2/{open}/blobs/{layer}", "guest open", 307, []string{"Location: {cdn}/registry-v2/docker/registry/v2/blobs/sha256/{hex}/data?verify=*-sig", "Content-Length: 0", "Docker-Content-Digest:"}},
		{"GET /v2/{open}/tags/list?n=1", "guest open", 200, []string{"Link:", `{"name":"{open}","tags":["1"]}`}},
		{"GET /v2/{open}/referrers/{index}", "guest open", 200, []string{"Content-Type: application/vnd.oci.image.index.v1+json"}},
	})
	const ghcr = `Www-Authenticate: Bearer realm="{self}/token",service="ghcr.io",scope="repository:`
	testExchanges(t, "ghcr.io", []exchange{
		{"GET /v2/", "", 401, []string{ghcr + `user/image:pull"`}},
		{"HEAD /v2/", "", 405, nil},
		{"GET /v2/{open}/manifests/1", "", 401, []string{ghcr + `{open}:pull"`}},
		{"GET /v2/{open}/manifests/1", "guest open", 200, []string{`Etag: "{index}"`}},
		{"GET {self}/token?scope=repository:{open}:pull", "", 200, []string{`{"token":"*"}`}},
		{"GET {self}/token?scope=repository:user/image:pull", "", 403, []string{`{"errors":[{"code":"DENIED",*`}},
		{"GET {self}/token?scope=repository:{closed}:pull", "", 403, nil},
		{"GET {self}/token?scope=repository:{gone}:pull", basic, 403, nil},
		{"GET /v2/{closed}/manifests/1", "user open", 403, []string{`{"errors":[{"code":"DENIED",*`}},
		{"GET /v2/{open}/blobs/{layer}", "guest open", 307, []string{"Location: {cdn}/ghcr1/blobs/{layer}?se=*&sig=*"}},
		{"GET /v2/{open}/referrers/{index}", "guest open", 303, []string{"Location: {cdn}/-/v2/packages/*"}},
	})
	for _, name := range []string{"quay.io", "quay"} {
		const quay = `Www-Authenticate: Bearer realm="{self}/v2/auth",service="quay.io"`
		testExchanges(t, name, []exchange{
			{"GET /v2/", "", 401, []string{quay, "true", "Content-Type: text/html*"}},
			{"GET /v2/", "guest closed", 200, []string{quay, "true"}},
			{"GET /v2/{open}/manifests/1", "", 200, []string{"Docker-Content-Digest: {index}", "Etag:"}},
			{"GET /v2/{closed}/manifests/1", "", 401, []string{quay + `,scope="repository:{closed}:pull"`}},
			{"GET /v2/{gone}/manifests/1", "user gone", 401, []string{quay + `,scope="repository:{gone}:pull"`}},
			{"GET {self}/v2/auth?service=quay.io", "", 401, nil},
			{"GET {self}/v2/auth?scope=repository:{closed}:pull", "", 200, []string{`{"token":"*"}`}},
			{"GET {self}/v2/auth?scope=repository:{open}:delete", "", 400, []string{`*"INVALID_REQUEST"*`}},
			{"POST {self}/v2/auth?scope=repository:{open}:pull", "", 405, nil},
			{"HEAD /v2/{open}/blobs/{layer}", "", 200, []string{"Content-Length: 300", "Cache-Control: max-age=31436000"}},
			{"GET /v2/{open}/blobs/{layer}", "", 302, []string{"Docker-Content-Digest: {layer}", "Cache-Control: max-age=31536000", "Content-Type: text/html*", "<!doctype html>*"}},
			{"GET /v2/{open}/referrers/{layer}", "", 400, []string{`*"MANIFEST_INVALID"*`}},
		})
	}
	testExchanges(t, "registry.k8s.io", []exchange{
		{"GET /v2/", "", 200, []string{"Www-Authenticate:"}},
		{"GET /v2/{open}/manifests/1", "", 307, []string{"Location: {cdn}/v2/k8s-artifacts-prod/images/{open}/manifests/1"}},
		{"GET /v2/{gone}/manifests/1", "", 307, nil},
		{"GET /v2/{open}/tags/list?n=5&last=1", "", 307, []string{"Location: {cdn}/v2/k8s-artifacts-prod/images/{open}/tags/list"}},
		{"GET /v2/{open}/blobs/{layer}", "", 307, []string{"Location: {cdn}/containers/images/{layer}"}},
		{"HEAD {cdn}/v2/k8s-artifacts-prod/images/{open}/manifests/1", "", 200, []string{"Docker-Content-Digest: {index}"}},
		{"GET {cdn}/v2/k8s-artifacts-prod/images/{open}/manifests/2", "", 404, []string{`*MANIFEST_UNKNOWN*Failed to fetch \"2\"*`}},
	})
	testExchanges(t, "pkg.dev", []exchange{
		{"GET /v2/", "", 401, []string{`Www-Authenticate: Bearer realm="{self}/v2/token"`, "*No credential was supplied*"}},
		{"GET /v2/{open}/manifests/1", "", 200, []string{"Docker-Content-Digest: {index}"}},
		{"GET /v2/{closed}/manifests/1", "", 401, []string{`Www-Authenticate: Bearer realm="{self}/v2/token",service="{host}",scope="repository:{closed}:pull"`}},
		{"GET /v2/{open}/manifests/1", "Bearer wrong", 401, []string{"Www-Authenticate:"}},
		{"GET {self}/v2/token?scope=repository:{closed}:pull", "", 403, []string{`*DENIED*Unauthenticated request*`}},
		{"GET {self}/v2/token?scope=repository:{gone}:pull", "", 403, nil},
		{"GET {self}/v2/token?scope=repository:{gone}:pull", basic, 404, []string{"*NAME_UNKNOWN*"}},
		{"GET {self}/v2/token?scope=repository:{open}:pull", "", 200, []string{`{"token":"*","expires_in":43200}`}},
		{"POST {self}/v2/token", "", 405, nil},
		{"GET /v2/{closed}/manifests/1", "user open", 200, nil},
		{"GET /v2/{open}/blobs/{layer}", "", 302, []string{"Location: /artifacts-downloads/namespaces/project/repositories/r/downloads/*", `{"errors":[]}`}},
	})
}

func TestVendorRegistriesAnswerLiterally(t *testing.T) {
	t.Parallel()
	testExchanges(t, "public.ecr.aws", []exchange{
		{"GET /v2/{open}/manifests/1", "", 401, []string{`Www-Authenticate: Bearer realm="{self}/token/",service="public.ecr.aws",scope="aws"`}},
		{"GET /v2/{open}/manifests/1", "guest gone", 200, nil},
		{"GET /v2/{open}/manifests/1", "Bearer wrong", 400, []string{`*"DENIED","message":"Your Authorization Token is invalid."*`, "Www-Authenticate:"}},
		{"HEAD /v2/{open}/blobs/{layer}", "guest open", 401, nil},
		{"GET /v2/{open}/blobs/{layer}", "guest open", 307, []string{"Location: {cdn}/v2/0b1c2d/*"}},
		{"GET /v2/{secret}/manifests/1", "user secret", 404, []string{"*NAME_UNKNOWN*"}},
	})
	testExchanges(t, "dkr.ecr", []exchange{
		{"GET /v2/", "", 401, []string{`Www-Authenticate: Basic realm="{self}/",service="ecr.amazonaws.com"`, "Not Authorized", "Content-Type: text/plain; charset=utf-8"}},
		{"HEAD /v2/{open}/manifests/1", basic, 200, []string{"Docker-Content-Digest: {index}"}},
		{"GET /v2/{open}/manifests/1", basic, 200, []string{"Docker-Content-Digest:"}},
		{"GET /v2/{open}/manifests/{index}", basic, 200, []string{"Docker-Content-Digest: {index}"}},
		{"GET /v2/{open}/tags/list?n=1001", basic, 405, []string{"*less than or equal to 1000*"}},
		{"GET /v2/{gone}/manifests/1", basic, 404, []string{"*The repository with name '{gone}' does not exist*"}},
		{"GET /v2/{secret}/manifests/1", basic, 403, nil},
		{"GET /v2/{open}/blobs/{layer}", basic, 307, nil},
	})
	const azure = `Www-Authenticate: Bearer realm="{self}/oauth2/token",service="{host}"`
	testExchanges(t, "azurecr.io", []exchange{
		{"GET /v2/", "", 401, []string{azure}},
		{"GET /v2/{open}/manifests/1", "", 401, []string{azure + `,scope="repository:{open}:pull"`, `*"detail":[{"Type":"repository","Name":"{open}","Action":"pull"}]*`}},
		{"GET {self}/oauth2/token?service=x&scope=repository:{open}:pull", "", 200, []string{`{"access_token":"*"}`}},
		{"GET {self}/oauth2/token?service=x&scope=repository:{closed}:pull", "", 401, nil},
		{"GET /v2/{open}/manifests/1", "user open", 200, nil},
		{"GET /v2/{secret}/manifests/1", "user secret", 401, []string{azure + `,scope="repository:{secret}:pull"` + insufficient}},
		{"HEAD /v2/{open}/blobs/{layer}", "guest open", 307, nil},
	})
	const nvidia = `Www-Authenticate: Bearer realm="{self}/proxy_auth"`
	testExchanges(t, "nvcr.io", []exchange{
		{"GET /v2/", "", 401, []string{nvidia + `,scope=""`, "Content-Type: text/html", "<html>*"}},
		{"GET /v2/{open}/manifests/1", "", 401, []string{nvidia + `,scope="repository:{open}:pull"`}},
		{"GET {self}/proxy_auth?scope=repository:{open}:pull", "", 200, []string{`{"token":"*","expires_in":600}`}},
		{"GET {self}/proxy_auth?scope=repository:{secret}:pull", "", 403, nil},
		{"GET /v2/{open}/manifests/1", "Bearer old", 401, []string{`Www-Authenticate: Bearer realm="{token}/token",scope="repository:{open}:pull"`}},
		{"GET {token}/token?scope=repository:{open}:pull", "", 401, nil},
		{"GET /v2/{open}/blobs/{layer}", "", 401, nil},
	})
	testExchanges(t, "registry.ollama.ai", []exchange{
		{"GET /v2/", "", 404, nil},
		{"GET /v2/{open}/manifests/1", "", 200, []string{"Docker-Content-Digest:", "Ollama-Content-Digest: {indexhex}", "Vary: Accept"}},
		{"HEAD /v2/{open}/manifests/1", "", 200, []string{"Docker-Content-Digest:", "Ollama-Content-Digest: {indexhex}"}},
		{"GET /v2/{open}/tags/list", "", 404, nil},
		{"GET /v2/{open}/referrers/{index}", "", 404, nil},
		{"GET /v2/{open}/blobs/{layer}", "", 307, []string{"Location: {cdn}/ollama/docker/registry/v2/blobs/sha256/{hex}/data?X-Amz-Signature=*"}},
	})
}
