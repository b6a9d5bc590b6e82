graph [
  comment "Exported by mainswarm-testnet; sha1 of the other lines: f1af570a2809e597aebceebb89d005ce1b682341"
  directed 0
  node [
    id 0
    label "Everywhere"
    host_bandwidth_up "10 Gbit"
    host_bandwidth_down "10 Gbit"
  ]
  edge [
    source 0
    target 0
    latency "20000 us"
    packet_loss 0.0
  ]
]
