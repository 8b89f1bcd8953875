package oci

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// DockerHub is the upstream that image references mean where they name none.
const DockerHub = "docker.io"

// DockerHubAliases returns the other names under which clients know DockerHub.
func DockerHubAliases() []string { return []string{"index.docker.io", "registry-1.docker.io"} }

// CanonicalUpstream returns DockerHub for its aliases, and any other name as it is.
func CanonicalUpstream(name string) string {
	if slices.Contains(DockerHubAliases(), name) {
		return DockerHub
	}
	return name
}

// MeansDockerHub reports whether people who name an upstream so mean DockerHub, unless
// they say where it is.
func MeansDockerHub(name string) bool {
	switch strings.ToLower(strings.TrimSuffix(name, ":443")) {
	case "docker", "dockerhub", "docker-hub", "docker.com", "www.docker.com", "hub.docker.com", "hub.docker.io", "registry.docker.io",
		"registry.hub.docker.com", "registry-1.docker.com", "dockerhub.io", "dockerhub.com":
		return true
	}
	return slices.Contains(DockerHubAliases(), name)
}

// CanonicalRepository returns the name of a repository at an upstream: on
// DockerHub, "library/" need not be written before names of one component.
func CanonicalRepository(upstream, repository string) string {
	if upstream == DockerHub && repository != "" && !strings.Contains(repository, "/") {
		return "library/" + repository
	}
	return repository
}

// IsRegistry reports whether the first component of an image reference is a
// registry, as all container runtimes tell it from the first part of a repository.
func IsRegistry(component string) bool {
	return component == "localhost" || strings.ContainsAny(component, ".:")
}

// WholeName returns the name that container runtimes make of one that names no
// registry: "nginx" is docker.io/library/nginx. It is empty if the name has one.
func WholeName(name string) string {
	first, _, path := strings.Cut(name, "/")
	if !path {
		first, _, _ = strings.Cut(name, "@")
		first, _, _ = strings.Cut(first, ":")
	}
	switch {
	case first == "" || IsRegistry(first) || strings.Contains(first, "*"):
		return ""
	case path:
		return DockerHub + "/" + name
	}
	return DockerHub + "/library/" + name
}

// noUpstream is the error of a name that has to begin with an upstream.
func noUpstream(name string) error {
	if whole := WholeName(name); whole != "" {
		return fmt.Errorf("it begins with no upstream (did you mean %s?)", whole)
	}
	return errors.New("it begins with no upstream")
}
