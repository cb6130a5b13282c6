"""CIFAR-10 learned by machines that keep their pictures to themselves."""
