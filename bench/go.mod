// Measures this project beside others, in one run. See README.md.
module github.com/kustomizer/kustomizer/bench

go 1.26.0
