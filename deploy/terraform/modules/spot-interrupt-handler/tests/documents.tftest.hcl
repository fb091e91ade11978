variables {
  cluster_name = "spot"
  region       = "eu-west-1"
  account_id   = "111122223333"
}

run "only_marked_groups" {
  command = plan

  assert {
    condition = [
      for statement in jsondecode(output.policy).Statement : statement.Condition.StringEquals
      if statement.Action == "elasticloadbalancing:DeregisterTargets"
    ] == [{ "aws:ResourceTag/interrupt-handler/enabled" = "true" }]
    error_message = "Deregistering hangs on the tag."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(output.policy).Statement :
      alltrue([for action in flatten([statement.Action]) : can(regex(":Describe", action))])
      if statement.Resource == "*"
    ])
    error_message = "What is not limited only looks."
  }
}

run "one_service_account_of_one_cluster" {
  command = plan

  assert {
    condition = jsondecode(output.pod_identity_trust).Statement[0].Condition == {
      StringEquals = {
        "aws:SourceAccount"                         = "111122223333"
        "aws:RequestTag/kubernetes-namespace"       = "kube-system"
        "aws:RequestTag/kubernetes-service-account" = "spot-interrupt-handler"
      }
      ArnEquals = { "aws:SourceArn" = "arn:aws:eks:eu-west-1:111122223333:cluster/spot" }
    }
    error_message = "The role is for the agent of this cluster."
  }

  assert {
    condition     = output.irsa_trust == null && output.user_data == null
    error_message = "What was not asked for is not there."
  }
}

run "irsa" {
  command = plan

  variables {
    oidc_issuer = "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
    namespace   = "spot"
  }

  assert {
    condition = jsondecode(output.irsa_trust).Statement[0].Condition.StringEquals == {
      "oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF:aud" = "sts.amazonaws.com"
      "oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF:sub" = "system:serviceaccount:spot:spot-interrupt-handler"
    }
    error_message = "Audience and subject are both compared."
  }
}

run "an_account_is_twelve_digits" {
  command         = plan
  expect_failures = [var.account_id]

  variables {
    account_id = "spot"
  }
}

run "an_issuer_is_a_url" {
  command         = plan
  expect_failures = [var.oidc_issuer]

  variables {
    oidc_issuer = "oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
  }
}
