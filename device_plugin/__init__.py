"""The node side: advertises GPU memory to the kubelet, carries the extender's choice into containers, reports back."""
