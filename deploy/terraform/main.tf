# The stream, and a role with which Fluent Bit's pods on EKS may write to it, by EKS Pod Identity.
#
#   terraform -chdir=deploy/terraform init
#   terraform -chdir=deploy/terraform apply -var cluster=production
#
# The cluster needs the add-on eks-pod-identity-agent. Namespace and service account are those of deploy/kubernetes/.
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

variable "cluster" {
  description = "The EKS cluster whose pods write to the stream."
  type        = string
}

data "aws_caller_identity" "current" {}

resource "aws_kinesis_stream" "logs" {
  name = "logs"

  stream_mode_details {
    stream_mode = "ON_DEMAND"
  }
}

resource "aws_iam_role" "fluent_bit" {
  name = "fluent-bit-writes-logs"

  # As deploy/iam/trust-pod-identity.json.
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Principal = {
          Service = "pods.eks.amazonaws.com"
        }
        Action = ["sts:AssumeRole", "sts:TagSession"]
        Condition = {
          StringEquals = {
            "aws:SourceAccount" = data.aws_caller_identity.current.account_id
          }
        }
      }
    ]
  })
}

resource "aws_iam_role_policy" "put_records" {
  name = "put-records"
  role = aws_iam_role.fluent_bit.name

  # As deploy/iam/put-records.json.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "PutRecords"
        Effect   = "Allow"
        Action   = "kinesis:PutRecords"
        Resource = aws_kinesis_stream.logs.arn
      }
    ]
  })
}

resource "aws_eks_pod_identity_association" "fluent_bit" {
  cluster_name    = var.cluster
  namespace       = "logging"
  service_account = "fluent-bit"
  role_arn        = aws_iam_role.fluent_bit.arn
}
