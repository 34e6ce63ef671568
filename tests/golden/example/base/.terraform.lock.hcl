# what `terraform providers lock` writes
