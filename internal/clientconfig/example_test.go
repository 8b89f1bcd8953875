package clientconfig_test

import (
	"fmt"
	"net/url"

	"github.com/pullgate/pullgate/internal/clientconfig"
)

func ExampleClient_Files() {
	k3s, _ := clientconfig.Find("k3s")
	files, err := k3s.Files(clientconfig.Options{
		Endpoint:  &url.URL{Scheme: "https", Host: "mirror.corp"},
		Upstreams: []string{"docker.io"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, file := range files {
		fmt.Printf("%s/%s\n%s", k3s.Directory, file.Path, file.Content)
	}
	// Output:
	// /etc/rancher/k3s/registries.yaml
	// mirrors:
	//   docker.io:
	//     endpoint:
	//       - https://mirror.corp/v2/proxy-docker.io
}
