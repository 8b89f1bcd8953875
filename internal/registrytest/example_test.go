package registrytest_test

import (
	"fmt"
	"net/http"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// A registry that is busy once, and counts what it is asked.
func ExampleListen() {
	s, err := registrytest.Listen("127.0.0.1:0", registrytest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	image := s.PutImage("library/app", "1", 7, 1000)
	s.On(registrytest.Rule{Kind: "manifests", Times: 1, Hook: registrytest.Answer(http.StatusTooManyRequests, nil, "")})
	for range 2 {
		response, err := http.Get(s.URL() + "/v2/library/app/manifests/1")
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(response.Status, response.Header.Get("Docker-Content-Digest") == image.Index.Digest.String())
		_ = response.Body.Close()
	}
	fmt.Println(s.Count(http.MethodGet, "manifests"), "requests")
	// Output:
	// 429 Too Many Requests false
	// 200 OK true
	// 2 requests
}
