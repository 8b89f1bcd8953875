package registrytest

import "net/http"

// ollama asks nobody who they are, answers no ping and lists nothing. The digest of a
// manifest stands in a header of its own, without its algorithm.
func ollama() Profile {
	gone := Reply{Status: http.StatusNotFound, Type: plain, Body: "404 page not found\n"}
	return Profile{
		Name: "registry.ollama.ai", AllPublic: true,
		First: []Step{
			Say(Match{Kind: "ping"}, gone), Say(Match{Kind: "tags"}, gone), noReferrers,
		},
		Then: []Step{
			Dress(Match{Kind: "manifests"}, map[string]string{
				"Docker-Content-Digest": "", "Ollama-Content-Digest": "{hex}", "Ollama-Push-Time": "1767225600", "Vary": "Accept",
			}),
			WantsType(Match{}, gone),
			Redirect{Kind: "blobs", To: "/ollama/docker/registry/v2/blobs/sha256/{hex}/data?X-Amz-Signature={id}"}.Step,
		},
		Referrers: ReferrersTag,
	}
}
